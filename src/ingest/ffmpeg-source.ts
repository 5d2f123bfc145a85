/**
 * A camera through one `ffmpeg -c copy` child: RTSP, RTMP, SRT, HTTP, files and devices. The child writes one fragmented
 * MP4 for each track into a pipe of its own, a fragment for each picture and each tenth of a second of sound (docs/cameras.md
 * says why so).
 *
 * It does not decode, does not wait between attempts and does not watch over the connection.
 *
 * A connection is being made, or runs, or is closing, or is closed. Its child never outlives it.
 */
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { FootageError, systemCode } from '../errors.ts';
import type { Track } from '../media.ts';
import { checkKeys, type KeysOf } from '../option-keys.ts';
import {
  ChildMessages,
  failureOf,
  type FfmpegInput,
  findFfmpeg,
  inputArguments,
  LIST_FD,
  probe,
  QUIET,
  sendList,
  startChild,
} from './ffmpeg.ts';
import { FirstTimes } from './first-times.ts';
import { FragmentStream, type StreamSample } from './fragment-stream.ts';
import { FrameQueue } from './frame-queue.ts';
import { type AudioChoice, chooseLayout, type Layout, outputArguments } from './layout.ts';
import { type HiddenAddress, hideSecrets } from './secrets.ts';
import type { FrameSource, SourceConnection, SourceFrame } from './source.ts';
import { TrackFeed } from './track-feed.ts';

export interface CameraInput {
  /** Address (rtsp://, rtmp://, srt://, http://, …), or path of a file or a device. */
  readonly url: string;
  /** Default `auto`. */
  readonly audio?: AudioChoice;
  /** Of RTSP: default `tcp`. */
  readonly transport?: 'tcp' | 'udp';
  /** Further options of ffmpeg for this input, e.g. `{ allowed_media_types: 'video' }`. */
  readonly options?: Readonly<Record<string, string>>;
}

const INPUT_KEYS: KeysOf<CameraInput> = { url: true, audio: true, transport: true, options: true };

/** Bytes of frames that may wait to be taken before the child has to. */
const MAX_WAITING_BYTES = 4 * 2 ** 20;
/** … while the other tracks are waited for: nobody takes any yet. */
const MAX_FIRST_BYTES = 64 * 2 ** 20;
/** Sound that comes late brings a new connection at most so often; in between it is left out. */
const LATE_SOUND_MS = 3_600_000;
/** How long the other tracks are waited for when one has come: sound may have died while its description lives. */
const OTHER_TRACKS_MS = 5000;
/** After SIGTERM, for the farewell that frees the session in the camera. */
const FAREWELL_MS = 2000;

/** @throws FootageError E_USAGE for an address or options that ffmpeg cannot be told; TypeError, RangeError */
export function ffmpegSource(input: CameraInput): FrameSource {
  checkKeys(input, INPUT_KEYS, 'a camera input');
  const { url, audio = 'auto', transport = 'tcp', options = {} } = input;
  if (typeof url !== 'string' || url === '') throw new TypeError('url is the address of a camera, a string');
  // A wrong address is told here, not by a camera that never comes.
  inputArguments({ url, options });
  if (!['auto', 'aac', 'none'].includes(audio)) throw new RangeError(`audio is auto, aac or none, not ${audio}`);
  if (!['tcp', 'udp'].includes(transport)) throw new RangeError(`transport is tcp or udp, not ${transport}`);
  const rtsp = /^rtsps?:/i.test(url) ? { rtsp_transport: transport } : {};
  return new FfmpegSource({ url, options: { ...rtsp, ...options } }, audio);
}

class FfmpegSource implements FrameSource {
  readonly description: string;
  readonly #input: FfmpegInput;
  readonly #audio: AudioChoice;
  readonly #hidden: HiddenAddress;
  /** As it was the last time: a camera that comes back is not asked again, unless it has become another. */
  #layout: Layout | undefined;
  /** When sound came too late, performance.now(). */
  #lateSoundMs = -Infinity;

  constructor(input: FfmpegInput, audio: AudioChoice) {
    this.#input = input;
    this.#audio = audio;
    this.#hidden = hideSecrets(input.url, input.options);
    this.description = this.#hidden.shown;
  }

  async connect(signal: AbortSignal): Promise<SourceConnection> {
    const known = this.#layout;
    // Forgotten until it has proved right.
    this.#layout = undefined;
    const layout = known ?? chooseLayout(await probe(this.#input, signal), this.#audio, this.description);
    const ffmpeg = await findFfmpeg();
    signal.throwIfAborted();
    const leavesLateSound = performance.now() - this.#lateSoundMs < LATE_SOUND_MS;
    const connection = new FfmpegConnection({
      ...{ ffmpeg, input: this.#input, hidden: this.#hidden, layout, leavesLateSound },
      onLateSound: () => {
        this.#lateSoundMs = performance.now();
      },
    });
    const abort = () => void connection.close();
    signal.addEventListener('abort', abort, { once: true });
    try {
      await connection.ready;
    } catch (error) {
      await connection.close();
      signal.throwIfAborted();
      // One that is away need not have become another.
      if (error instanceof FootageError && error.code === 'E_CAMERA_UNREACHABLE') this.#layout = layout;
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    // Sound that is not there may come another time: only a look tells.
    if (layout.audio !== undefined || this.#audio === 'none') this.#layout = layout;
    return connection;
  }
}

function lateTrack(shown: string): FootageError {
  return new FootageError('E_CAMERA_LOST', `${shown} has begun to send sound: it is connected anew by itself.`);
}

interface ConnectionOptions {
  /** Path of the program. */
  readonly ffmpeg: string;
  readonly input: FfmpegInput;
  readonly hidden: HiddenAddress;
  readonly layout: Layout;
  /** Sound that begins later than the pictures is left out; otherwise `onLateSound` is called, and the connection fails. */
  readonly leavesLateSound: boolean;
  readonly onLateSound: () => void;
}

class FfmpegConnection implements SourceConnection {
  /** Resolves when `tracks` are known. */
  readonly ready: Promise<void>;
  readonly #queue: FrameQueue<SourceFrame>;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #pipes: readonly Readable[];
  readonly #feeds: (TrackFeed | undefined)[];
  /** Of each pipe, the track as its first sync sample has it. */
  readonly #first: (Track | undefined)[];
  readonly #options: ConnectionOptions;
  readonly #isRtsp: boolean;
  readonly #firstTimes = new FirstTimes();
  #known!: { readonly resolve: () => void; readonly reject: (error: unknown) => void };
  #isReady = false;
  #isClosing = false;
  #others: NodeJS.Timeout | undefined;
  #tracks: SourceConnection['tracks'] = [];
  #notes: readonly string[];

  constructor(options: ConnectionOptions) {
    const { ffmpeg, input, layout } = options;
    this.#options = options;
    this.#notes = layout.notes;
    // Only RTSP brings the camera's own clock (RTCP sender reports, RFC 3550 section 6.4.1).
    this.#isRtsp = /^rtsps?:/i.test(input.url);
    const { args, list } = inputArguments(input);
    const outputs = [layout.video, layout.audio].filter((one) => one !== undefined);
    const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', 'pipe', ...outputs.map(() => 'pipe' as const)];
    this.#child = startChild(ffmpeg, [...QUIET, '-copyts', ...args, ...outputArguments(layout)], { stdio });
    this.#closed = once(this.#child, 'close').catch(() => undefined);
    sendList(this.#child, list);
    this.#feeds = outputs.map(() => undefined);
    this.#first = outputs.map(() => undefined);
    this.#pipes = outputs.map((_, i) => this.#child.stdio[LIST_FD + 1 + i] as Readable);
    this.#queue = new FrameQueue((bytes) => this.#goOn(bytes));
    this.ready = new Promise((resolve, reject) => {
      this.#known = { resolve, reject };
    });
    // Whoever connects awaits it; a connection that is given up meanwhile must not end the process.
    this.ready.catch(() => undefined);
    this.#pipes.forEach((pipe, i) => this.#read(pipe, i));
    this.#watchChild();
  }

  get tracks(): SourceConnection['tracks'] {
    return this.#tracks;
  }

  get notes(): readonly string[] {
    return this.#notes;
  }

  get frames(): AsyncIterable<SourceFrame> {
    return this.#queue;
  }

  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      clearTimeout(this.#others);
      this.#queue.end();
      this.#child.kill('SIGTERM');
      // What it still writes is not read, and must not keep it.
      for (const pipe of this.#pipes) pipe.destroy();
      const abort = new AbortController();
      void sleep(FAREWELL_MS, undefined, { signal: abort.signal }).then(
        () => this.#child.kill('SIGKILL'),
        () => undefined,
      );
      await this.#closed;
      abort.abort();
    }
    await this.#closed;
  }

  #read(pipe: Readable, index: number): void {
    const stream = new FragmentStream({
      track: (track) => {
        this.#feeds[index] = new TrackFeed(index, track);
      },
      sample: (sample) => {
        this.#take(index, this.#isRtsp ? sample : { ...sample, producerUtcMs: undefined });
      },
    });
    pipe.on('data', (bytes: Buffer) => {
      try {
        stream.push(bytes);
      } catch (error) {
        this.#fail(error);
        return;
      }
      if (this.#queue.bytes > (this.#isReady ? MAX_WAITING_BYTES : MAX_FIRST_BYTES))
        for (const one of this.#pipes) one.pause();
    });
    pipe.on('error', () => undefined);
  }

  #take(index: number, sample: StreamSample): void {
    const feed = this.#feeds[index];
    if (feed === undefined) throw new RangeError('a sample comes behind its track');
    if (this.#isReady && index >= this.#tracks.length) {
      if (this.#options.leavesLateSound) return;
      this.#options.onLateSound();
      throw lateTrack(this.#options.hidden.shown);
    }
    const frame = feed.frame(sample, performance.now());
    if (this.#first[index] === undefined && sample.sync) {
      // What the first sync sample says of the configuration holds from the beginning.
      this.#first[index] = feed.track;
      const { newTrack: _, ...first } = frame;
      this.#push(feed, first);
      this.#begin(index);
    } else this.#push(feed, frame);
  }

  #push({ track }: TrackFeed, frame: SourceFrame): void {
    const known = this.#isRtsp && track.kind === 'video' ? this.#firstTimes.take(frame) : [frame];
    for (const one of known) this.#queue.push(one);
  }

  /** Tracks are known when each has come, or the first has and lets no longer wait for the others. */
  #begin(index: number): void {
    if (this.#isReady) return;
    if (this.#first.every((track) => track !== undefined)) this.#beReady();
    else if (index === 0) this.#others = setTimeout(() => this.#beReady(), OTHER_TRACKS_MS);
  }

  #beReady(): void {
    clearTimeout(this.#others);
    this.#isReady = true;
    this.#tracks = this.#first.flatMap((track) => track ?? []);
    if (this.#tracks.length < this.#first.length && this.#options.leavesLateSound) {
      this.#notes = [...this.#notes, 'its sound comes only at times, and is left out of this connection'];
    }
    this.#known.resolve();
  }

  #goOn(waitingBytes: number): void {
    if (waitingBytes > MAX_WAITING_BYTES / 2) return;
    for (const pipe of this.#pipes) if (pipe.isPaused()) pipe.resume();
  }

  #watchChild(): void {
    const messages = new ChildMessages(this.#child.stderr as Readable, this.#options.hidden);
    this.#child.once('error', (error) => {
      this.#fail(
        new FootageError(
          'E_FFMPEG',
          `ffmpeg could not be started (${systemCode(error) ?? error.message}): look at the limit of processes.`,
        ),
      );
    });
    this.#child.once('close', (status) => {
      const { shown } = this.#options.hidden;
      if (!this.#isReady || status !== 0) {
        this.#fail(failureOf(shown, messages.text, 'E_CAMERA_LOST'));
        return;
      }
      for (const frame of this.#firstTimes.finish()) this.#queue.push(frame);
      this.#queue.end();
    });
  }

  #fail(error: unknown): void {
    for (const frame of this.#firstTimes.finish()) this.#queue.push(frame);
    this.#queue.fail(error);
    this.#known.reject(error);
    if (!this.#isClosing) this.#child.kill('SIGKILL');
  }
}
