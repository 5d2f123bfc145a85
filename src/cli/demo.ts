/**
 * `footage demo`: two sample clips recorded in real time, over and over, as if they were cameras, a real camera beside them
 * if one is given, and the web page.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Archive, openArchive } from '../archive.ts';
import { openMediaFile } from '../ingest/media-file.ts';
import { replay } from '../ingest/replay.ts';
import { listen } from './listen.ts';
import { hideTitle, tell } from './live.ts';
import { untilInterrupted } from './support.ts';

interface DemoFlags {
  readonly archive?: string;
  readonly port: number;
  readonly host: string;
}

const CAMERAS = ['front-door', 'yard'];
const CLIPS = join(import.meta.dirname, '..', '..', 'media');

/** The camera of the address that was given. */
const OWN_CAMERA = 'camera';

export async function runDemo(url: string | undefined, flags: DemoFlags): Promise<void> {
  if (url !== undefined) hideTitle('footage demo');
  const signal = untilInterrupted();
  const path = flags.archive ?? (await mkdtemp(join(tmpdir(), 'footage-demo-')));
  try {
    const archive = await openArchive(path);
    try {
      await demo(archive, url, flags, signal);
    } finally {
      await archive.close();
    }
  } finally {
    if (flags.archive === undefined) await rm(path, { recursive: true, force: true });
  }
}

async function demo(
  archive: Archive,
  url: string | undefined,
  { host, port }: DemoFlags,
  signal: AbortSignal,
): Promise<void> {
  const server = await listen(archive, host, port);
  try {
    const ended = CAMERAS.map((camera) => recordClip(archive, camera, signal));
    if (url !== undefined) tell(archive.camera(OWN_CAMERA, { source: url }));
    const names = url === undefined ? CAMERAS : [...CAMERAS, OWN_CAMERA];
    process.stdout.write(`recording ${names.join(' and ')} into ${archive.root}\n`);
    process.stdout.write(`listening on ${server.url}\nOpen that page; Ctrl-C ends the demo.\n`);
    await Promise.all(ended);
  } finally {
    await server.close();
  }
}

async function recordClip(archive: Archive, camera: string, signal: AbortSignal): Promise<void> {
  const file = await openMediaFile(join(CLIPS, `${camera}.mp4`));
  try {
    const frames = replay(file, { signal, loop: true });
    const recording = await archive.record(camera, { tracks: file.tracks, frames, signal });
    await recording.finished;
  } finally {
    await file.close();
  }
}
