/** Packets of a media file as ffprobe sees them: a reader that is not ours. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/** Of each packet its MD5 and bytes, per kind; `options`: of the demuxer. */
export async function packetsOf(file, options = []) {
  const show = ['-show_packets', '-show_data_hash', 'md5', '-show_entries', 'packet=codec_type,size,data_hash'];
  const { stdout } = await exec('ffprobe', ['-v', 'error', ...options, ...show, '-of', 'csv=p=0', file], {
    maxBuffer: 2 ** 28,
  });
  const packets = { video: [], audio: [] };
  for (const line of stdout.split('\n')) {
    const [kind, bytes, hash] = line.split(',');
    packets[kind]?.push({ bytes: Number(bytes), hash });
  }
  return packets;
}

/** @throws unless the packets found are the first of the source, at least `least` of them */
export function checkPrefix(kind, found, source, least) {
  const wrong = found.findIndex(({ hash }, i) => hash !== source[i]?.hash);
  if (wrong !== -1) throw new Error(`${kind} packet ${wrong} is not the source's`);
  if (found.length < least) throw new Error(`${found.length} ${kind} frames are found, ${least} were appended`);
}
