/**
 * A camera that does what a test says: it connects, gives frames of a real media file, is lost, hangs. Its frames say
 * when they came, so a test of many seconds of media takes none.
 */
import { FrameQueue } from '../../src/ingest/frame-queue.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { FrameSource, SourceConnection, SourceFrame } from '../../src/ingest/source.ts';
import type { Frame, Track } from '../../src/media.ts';
import { type MediaKind, mediaFile } from './media.ts';

/** Frames of a file, by decode time. */
export interface Footage {
  readonly tracks: readonly Track[];
  readonly frames: readonly Frame[];
}

/**
 * The first `seconds` of a file of that kind, from its first picture on, which is decoded at 0; its sync samples of video lie
 * 2 s apart.
 */
export async function footage(kind: MediaKind = 'h264-aac', seconds = 20): Promise<Footage> {
  await using file = await openMediaFile(await mediaFile(kind));
  const { tracks } = file;
  const scaleOf = (track: number) => tracks[track]?.timescale ?? 1;
  const frames: Frame[] = [];
  let startS: number | undefined;
  for await (const frame of file.frames()) {
    // As a camera is that sends nothing before its first picture.
    if (frame.track === 0) startS ??= frame.dts / scaleOf(0);
    if (startS === undefined) continue;
    const dts = frame.dts - Math.round(startS * scaleOf(frame.track));
    if (dts / scaleOf(frame.track) >= seconds) break;
    frames.push({ ...frame, dts, data: new Uint8Array(frame.data) });
  }
  return { tracks, frames };
}

/** How an attempt to connect ends; by default at once, well. */
export type Answer = (signal: AbortSignal, attempt: number) => Promise<SourceConnection>;

export class FakeConnection implements SourceConnection {
  readonly tracks: readonly Track[];
  readonly notes: readonly string[] = ['data track left out'];
  readonly frames = new FrameQueue<SourceFrame>();
  /** When media time 0 came, ms of performance.now(). */
  readonly beganMs: number;
  closed = 0;
  readonly #footage: Footage;
  #next = 0;

  constructor(material: Footage, beganMs: number) {
    this.#footage = material;
    this.tracks = material.tracks;
    this.beganMs = beganMs;
  }

  /** Gives the frames up to that second of the media; returns them. */
  giveUpTo(seconds: number): Frame[] {
    const { frames } = this.#footage;
    const from = this.#next;
    while (this.#next < frames.length && this.#secondsOf(frames[this.#next]) < seconds) this.#next++;
    const given = frames.slice(from, this.#next);
    for (const frame of given) this.give(frame);
    return given;
  }

  give(frame: Frame): void {
    const arrivalMs = this.beganMs + this.#secondsOf(frame) * 1000;
    this.frames.push(Object.freeze({ ...frame, arrivalMs }));
  }

  #secondsOf(frame: Frame | undefined): number {
    return (frame?.dts ?? 0) / (this.tracks[frame?.track ?? 0]?.timescale ?? 1);
  }

  /** Wall time of a media time, s, in Unix ms. */
  utcMs(seconds: number): number {
    return performance.timeOrigin + this.beganMs + seconds * 1000;
  }

  end(): void {
    this.frames.end();
  }

  fail(error: unknown): void {
    this.frames.fail(error);
  }

  async close(): Promise<void> {
    this.closed++;
    this.frames.end();
  }
}

export interface FakeSourceOptions {
  readonly footage: Footage;
  /** How long before now media time 0 came, ms: a test gives frames faster than they last. */
  readonly agoMs?: number;
  readonly answer?: Answer;
}

export class FakeSource implements FrameSource {
  readonly description = 'fake://camera';
  readonly connections: FakeConnection[] = [];
  attempts = 0;
  answer: Answer | undefined;
  agoMs: number;
  readonly #footage: Footage;

  constructor({ footage: material, agoMs = 60_000, answer }: FakeSourceOptions) {
    this.#footage = material;
    this.agoMs = agoMs;
    this.answer = answer;
  }

  connect(signal: AbortSignal): Promise<SourceConnection> {
    this.attempts++;
    return this.answer === undefined ? Promise.resolve(this.accept()) : this.answer(signal, this.attempts);
  }

  accept(): FakeConnection {
    const connection = new FakeConnection(this.#footage, performance.now() - this.agoMs);
    this.connections.push(connection);
    return connection;
  }

  /** The newest connection. */
  get connection(): FakeConnection {
    const connection = this.connections.at(-1);
    if (connection === undefined) throw new Error('nobody has connected yet');
    return connection;
  }
}
