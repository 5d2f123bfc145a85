/**
 * Makes the inputs that the fuzzers of test/fuzz begin with: small files of FFmpeg (`corpus/movie`), and out of them real
 * segments, sealed and open (`corpus/segment`, and `corpus/scan` with the header that the fuzzer of the scan takes). The
 * results are committed. Needs the build.
 *
 * node scripts/fuzz-corpus.mjs
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeIndexBlock } from '../dist/format/index-block.js';
import { encodeHead, readHead, seedOf } from '../dist/format/records.js';
import { openArchive } from '../dist/index.js';
import { native } from '../dist/native.js';
import { DATA_START, OPEN_PREFIX } from '../dist/segment/layout.js';
import { readTrailer } from '../dist/segment/reader.js';

const CORPUS = join(import.meta.dirname, '..', 'test', 'fuzz', 'corpus');
const START = '2026-01-31T12:00:00Z';

const PICTURE = ['-f', 'lavfi', '-i', 'testsrc2=size=64x64:rate=25:duration=0.48'];
const SOUND = ['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000:duration=0.48'];
const TELEPHONE = ['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=8000:duration=0.3'];
const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '40', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '5'];
const X265 = [
  '-c:v',
  'libx265',
  '-preset',
  'ultrafast',
  '-crf',
  '40',
  '-pix_fmt',
  'yuv420p',
  '-tag:v',
  'hvc1',
  '-x265-params',
  'log-level=none',
];
const AV1 = ['-c:v', 'libsvtav1', '-preset', '12', '-crf', '60', '-pix_fmt', 'yuv420p', '-g', '6'];
const AAC = ['-c:a', 'aac', '-b:a', '16k'];
const OPUS = ['-c:a', 'libopus', '-b:a', '12k'];
const PLAIN = ['-map_metadata', '-1', '-fflags', '+bitexact', '-flags', '+bitexact'];
const fragments = (flags) => ['-movflags', flags];

/** File names and what FFmpeg makes them of. */
const MOVIES = {
  'h264-aac.mp4': [...PICTURE, ...SOUND, ...X264, ...AAC],
  'h264-aac-first.mp4': [...PICTURE, ...SOUND, ...X264, ...AAC, ...fragments('+faststart+negative_cts_offsets')],
  'h264-aac-fragments.mp4': [...PICTURE, ...SOUND, ...X264, ...AAC, ...fragments('+frag_keyframe+empty_moov')],
  'h264-every-frame.mp4': [
    ...[...PICTURE, ...SOUND, ...X264, ...AAC],
    ...fragments('+frag_every_frame+empty_moov+default_base_moof'),
  ],
  'h264-split-moof.mp4': [...PICTURE, ...SOUND, ...X264, ...AAC, ...fragments('+frag_keyframe+separate_moof')],
  'h265-opus.mp4': [...PICTURE, ...SOUND, ...X265, ...OPUS],
  'av1-opus.mp4': [...PICTURE, ...SOUND, ...AV1, ...OPUS],
  'alaw.mov': [...TELEPHONE, '-c:a', 'pcm_alaw'],
  'h264-ulaw.mov': [...PICTURE, ...TELEPHONE, ...X264, '-c:a', 'pcm_mulaw'],
};
/** Those that become segments. */
const RECORDED = ['h264-aac.mp4', 'h265-opus.mp4', 'h264-ulaw.mov'];

function folderOf(name) {
  const folder = join(CORPUS, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

function makeMovies(folder) {
  for (const [name, recipe] of Object.entries(MOVIES)) {
    const args = ['-v', 'error', '-nostdin', ...recipe, ...PLAIN, '-y', join(folder, name)];
    const { status } = spawnSync('ffmpeg', args, { stdio: 'inherit' });
    if (status !== 0) throw new Error(`ffmpeg did not make ${name}`);
  }
}

/** Imports a movie into an archive of its own; returns the path of its one segment. */
async function segmentOf(movie, scratch) {
  const folder = mkdtempSync(join(scratch, 'archive-'));
  const archive = await openArchive(folder);
  await archive.import('door', movie, { start: START });
  await archive.close();
  const name = readdirSync(folder, { recursive: true }).find((path) => path.endsWith('.mp4'));
  return join(folder, name);
}

/** As a crash leaves it behind the first part of its pseudo-header. */
async function opened(path) {
  const file = await open(path, 'r');
  try {
    const { offset: dataEnd } = (await readTrailer(file, native)).moov;
    const bytes = readFileSync(path).subarray(0, dataEnd);
    const { head } = readHead(bytes.subarray(DATA_START), native.crc32c);
    const seed = seedOf(head.segment, native.crc32c);
    const request = { fd: file.fd, from: DATA_START, to: dataEnd, seed, verify: false, resync: false, limit: 12 };
    const { records, next } = await native.scan(request);
    const block = encodeIndexBlock({ from: DATA_START, to: next, records }, seed, native.crc32c);
    bytes.set(OPEN_PREFIX);
    return { bytes, index: Buffer.concat([encodeHead(head, native.crc32c), block]), seed };
  } finally {
    await file.close();
  }
}

/** What the target `segment` takes: length of the segment, the segment, its pseudo-header. */
function withLength(bytes, index) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes, index]);
}

/** What scan_fuzzer takes: see test/fuzz/native/segment_input.h. */
function scanInput(flags, batch, seed, bytes) {
  const header = Buffer.alloc(11);
  header[0] = flags;
  header[1] = batch;
  header.writeUInt32BE(seed, 2);
  header.writeUInt16BE(DATA_START, 6);
  return Buffer.concat([header, bytes]);
}

async function makeSegments(movies, scratch) {
  const [segments, scans] = [folderOf('segment'), folderOf('scan')];
  for (const name of RECORDED) {
    const path = await segmentOf(join(movies, name), scratch);
    const { bytes, index, seed } = await opened(path);
    const what = name.replace(/\..*/, '');
    writeFileSync(join(segments, `${what}-sealed`), withLength(readFileSync(path), Buffer.alloc(0)));
    writeFileSync(join(segments, `${what}-open`), withLength(bytes, index));
    writeFileSync(join(segments, `${what}-torn`), withLength(bytes.subarray(0, bytes.length * 0.7), index));
    [0, 1, 2, 3].forEach((flags) => {
      writeFileSync(join(scans, `${what}-${flags}`), scanInput(flags, flags, seed, bytes));
    });
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'footage-corpus-'));
try {
  const movies = folderOf('movie');
  makeMovies(movies);
  await makeSegments(movies, scratch);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
