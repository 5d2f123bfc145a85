/**
 * The command line. Exit status: 0 done, 1 failed, 2 used wrongly. Data goes to standard output, everything else to
 * standard error; an error is one line with its stable code.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { FootageError } from '../errors.ts';
import { runDemo } from './demo.ts';
import { runExport } from './export.ts';
import { runImport } from './import.ts';
import { runInspect } from './inspect.ts';
import { runList } from './list.ts';
import { runRecord } from './record.ts';
import { runRecover, runVerify } from './check.ts';
import { runServe } from './serve.ts';

const packageFile = readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8');
const { version } = JSON.parse(packageFile) as { version: string };

const program = new Command('footage')
  .description('Video archive for network video recorders.')
  .version(version)
  .exitOverride()
  // `report` prints errors, with their code.
  .configureOutput({ outputError: () => undefined });

const archiveOption = ['--archive <dir>', 'folder of the archive'] as const;
const waitOption = [
  '--wait <seconds>',
  'how long to wait while another process writes or recovers the camera',
  secondNumber,
  10,
] as const;

const DAY_MS = 86_400_000;

const PARTS_HELP = `
With --changes split an answer of several parts becomes several files: -o door.mp4 gives door.1.mp4, door.2.mp4 and so on,
and door.mp4 where there is one part. Each appears when it is whole; --json prints a line for each.`;

program
  .command('demo')
  .description('record two sample cameras, and a real one if its address is given, and show them on a web page')
  .argument('[url]', 'address of a camera (rtsp, rtmp, srt, http, …); needs ffmpeg')
  .option('--archive <dir>', 'keep the recordings here instead of in a folder that is removed at the end')
  .option('--port <number>', 'port of the page', portNumber, 8080)
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .action(runDemo);

program
  .command('serve')
  .description('serve an archive over HTTP, with the web page; and record cameras into it')
  .requiredOption(...archiveOption)
  .option('--camera <name=url>', 'connect a camera and record it; may be given many times', cameraAddress, {})
  .option('--cameras <file>', 'a JSON file with cameras and their options: passwords stay off the command line')
  .option('--port <number>', 'port; 0 = any free one', portNumber, 8080)
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option('--session-rate <bytes>', 'limit of each download in bytes per second; 0 = none', byteNumber, 0)
  .option('--session-burst <bytes>', 'bytes a download gets at once in the beginning', byteNumber, 2 ** 20)
  .option('--client-rate <bytes>', 'limit of all downloads of one address together', byteNumber, 0)
  .option('--client-burst <bytes>', 'bytes an address gets at once in the beginning', byteNumber, 2 ** 20)
  .option('--server-rate <bytes>', 'limit of all downloads together, in equal shares', byteNumber, 0)
  .option('--server-burst <bytes>', 'bytes all downloads get at once in the beginning', byteNumber, 2 ** 20)
  .option('--real-time <times>', 'send at so many times the speed of the footage, after 5 s of it at once', speedNumber)
  .option(
    '--scrub <period>',
    'check all segments in the background once in such a time, or off',
    scrubPeriod,
    30 * DAY_MS,
  )
  .option('--scrub-rate <bytes>', 'read so many bytes per second for it, at most', scrubNumber, 8_000_000)
  .action(runServe);

program
  .command('record')
  .description('record a camera until it is interrupted; a file is replayed in real time as if it were one')
  .requiredOption(...archiveOption)
  .requiredOption('--camera <name>', 'name of the camera')
  .requiredOption('--input <url>', 'address of the camera (rtsp, rtmp, srt, http, …), a media file, or a device')
  .option('--duration <seconds>', 'stop after this much recorded media')
  .addOption(
    new Option('--audio <choice>', 'sound of a camera: as it is if it can be kept, as AAC, or left out')
      .choices(['auto', 'aac', 'none'])
      .default('auto'),
  )
  .addOption(new Option('--transport <protocol>', 'of RTSP').choices(['tcp', 'udp']).default('tcp'))
  .option('--input-option <key=value>', 'an option of ffmpeg for the input, as f=v4l2 for a device', keyValue, {})
  .option(...waitOption)
  .option('--json', 'print a line of JSON a second')
  .action(runRecord);

program
  .command('import')
  .description('import media files as if they had been recorded at a given time')
  .requiredOption(...archiveOption)
  .requiredOption('--camera <name>', 'name of the camera')
  .requiredOption('--start <time>', 'wall time of the first presented sample: RFC 3339 or Unix seconds')
  .option('--overlap <policy>', 'over footage that exists: refuse or keep', overlapPolicy, 'refuse')
  .option(...waitOption)
  .option('--json', 'print the result as JSON')
  .argument('<file...>', 'MP4 or MOV files; each further one follows where the one before ends')
  .action(runImport);

program
  .command('export')
  .description('write any range of a camera as one MP4 file')
  .requiredOption(...archiveOption)
  .requiredOption('--camera <name>', 'name of the camera')
  .requiredOption('--start <time>', 'begin: RFC 3339 or Unix seconds')
  .option('--end <time>', 'end: RFC 3339 or Unix seconds')
  .option('--duration <seconds>', 'length, instead of --end')
  .addOption(
    new Option('--gaps <policy>', 'where footage is missing: join, hold the last picture, or refuse')
      .choices(['collapse', 'freeze', 'error'])
      .default('collapse'),
  )
  .addOption(
    new Option('--changes <policy>', 'where codec or audio format change: refuse, a file for each part, or no audio')
      .choices(['error', 'split', 'drop-audio'])
      .default('error'),
  )
  .addOption(
    new Option(
      '--begin <place>',
      'where the start is inside a GOP: hide its lead-in, show it, or begin with the next one',
    )
      .choices(['exact', 'keyframe', 'next'])
      .default('exact'),
  )
  .addOption(new Option('--tracks <kind>', 'only these tracks').choices(['video', 'audio']))
  .option('--keyframes', 'only the sync samples of the video: a time-lapse')
  .option('--speed <times>', 'show them so many times as fast', speedNumber)
  .addOption(new Option('--format <format>', 'a plain or a fragmented MP4').choices(['mp4', 'fmp4']).default('mp4'))
  .option('--json', 'print the manifest as JSON')
  .requiredOption('-o, --output <file>', 'file to write')
  .addHelpText('after', PARTS_HELP)
  .action(runExport);

program
  .command('list')
  .description('list the cameras and what is recorded of them')
  .requiredOption(...archiveOption)
  .option('--camera <name>', 'only this camera')
  .option('--json', 'print JSON')
  .action(runList);

program
  .command('verify')
  .description('check every checksum and every table of an archive; without --repair nothing is changed')
  .requiredOption(...archiveOption)
  .option('--camera <name>', 'only this camera')
  .option('--repair', 'make good what can be, and set aside what cannot; nothing is deleted')
  .option('--jobs <number>', 'segments that are read at once', jobNumber)
  .option('--json', 'print JSON: a line for each segment, and one with the counters')
  .action(runVerify);

program
  .command('inspect')
  .description('show the anatomy of one segment file, sealed, open, torn or damaged; needs no archive')
  .option('--records', 'list each record')
  .option('--json', 'print JSON')
  .argument('<file>', 'a segment')
  .action(runInspect);

program
  .command('recover')
  .description('seal what a crash left open; serve, record, import and export do so as well')
  .requiredOption(...archiveOption)
  .option('--json', 'print JSON')
  .action(runRecover);

/** Adds to those given before. */
function cameraAddress(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const [, name, url] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || url === undefined) throw new InvalidArgumentError('Write a camera as name=url.');
  if (name in before) throw new InvalidArgumentError(`Camera ${name} is given twice.`);
  return { ...before, [name]: url };
}

/** Adds to those given before. */
function keyValue(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const [, key, value] = /^(\w+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError('Write an option as key=value.');
  return { ...before, [key]: value };
}

function portNumber(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new InvalidArgumentError('A port is a number from 0 to 65535.');
}

function jobNumber(text: string): number {
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= 64) return jobs;
  throw new InvalidArgumentError('Write a whole number from 1 to 64.');
}

/** 0: not at all. */
function scrubPeriod(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([dhms])$/.exec(text) ?? [];
  const unitMs = { d: DAY_MS, h: 3_600_000, m: 60_000, s: 1000 }[unit ?? ''];
  if (text === 'off') return 0;
  if (unitMs !== undefined && Number(number) > 0) return Number(number) * unitMs;
  throw new InvalidArgumentError('Write off, or a time such as 30d or 12h.');
}

function byteNumber(text: string): number {
  const bytes = Number(text);
  if (Number.isFinite(bytes) && bytes >= 0 && text.trim() !== '') return bytes;
  throw new InvalidArgumentError('Write a number of bytes, 0 or more.');
}

function scrubNumber(text: string): number {
  const bytes = byteNumber(text);
  if (bytes >= 1) return bytes;
  throw new InvalidArgumentError('Write a number of bytes, 1 or more.');
}

function secondNumber(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 0 && text.trim() !== '') return seconds;
  throw new InvalidArgumentError('Write a number of seconds, 0 or more.');
}

function overlapPolicy(text: string): 'refuse' | 'keep' {
  if (text === 'refuse' || text === 'keep') return text;
  throw new InvalidArgumentError('Write refuse or keep.');
}

function speedNumber(text: string): number {
  const times = Number(text);
  if (Number.isFinite(times) && times > 0) return times;
  throw new InvalidArgumentError('Write a number above 0, such as 8.');
}

/** Help and version are no errors; all else that the parser refuses is wrong use. */
function usageError(error: CommanderError): FootageError {
  const said =
    error.code === 'commander.help' ? 'no command' : error.message.replace(/^error: /, '').replace(/\.$/, '');
  return new FootageError('E_USAGE', `${said}. Run the command with --help for its options.`, error);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : report(usageError(error));
  if (error instanceof Error && error.name === 'AbortError') {
    return report(
      new FootageError('E_CANCELLED', 'Interrupted: nothing unfinished was left behind. Run the command again.', error),
    );
  }
  if (error instanceof FootageError) {
    process.stderr.write(`footage: ${error.code}: ${error.message}\n`);
    return error.exitStatus;
  }
  process.stderr.write(
    `footage: unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 1;
}

// Output cut off by its reader (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
