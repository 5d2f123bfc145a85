/** FFmpeg as a plain client of a camera: writes each track to a file of its own, and says frame by frame what came. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Stream } from './stream.ts';

export interface ReceiverOptions {
  readonly transport?: 'tcp' | 'udp';
  /** As in FFmpeg's command line. */
  readonly inputOptions?: readonly string[];
  /** Of the video file. */
  readonly videoOptions?: readonly string[];
}

/** A frame as it came, before it is written: time stamps in seconds as FFmpeg's RTSP client gives them. */
export interface ReceivedFrame {
  readonly track: 'video' | 'audio';
  readonly ptsS: number;
}

export class Receiver {
  readonly videoFile: string;
  readonly audioFile: string;
  readonly frames: ReceivedFrame[] = [];
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #closed: Promise<unknown[]>;
  readonly #ticksPerS = new Map<number, number>();
  #stderr = '';
  #rest = '';

  constructor(url: string, stream: Stream, folder: string, options: ReceiverOptions = {}) {
    this.videoFile = join(folder, 'video.mp4');
    this.audioFile = join(folder, stream.audio?.codec.endsWith('law') ? 'audio.mov' : 'audio.mp4');
    const { transport = 'tcp', inputOptions = [], videoOptions = [] } = options;
    const input = ['-v', 'error', '-nostdin', '-copyts', '-rtsp_transport', transport, ...inputOptions, '-i', url];
    // FFmpeg gives the first frame no time if there are B-frames, and some of its writers refuse that.
    const video = ['-map', '0:v', '-c', 'copy', '-bsf:v', 'setts=pts=if(eq(PTS\\,NOPTS)\\,0\\,PTS)', ...videoOptions];
    const audio = stream.audio === undefined ? [] : ['-map', '0:a', '-c', 'copy', '-y', this.audioFile];
    const log = ['-map', '0', '-c', 'copy', '-flush_packets', '1', '-f', 'framecrc', '-'];
    const args = [...input, ...video, '-y', this.videoFile, ...audio, ...log];
    this.#child = spawn('ffmpeg', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#closed = once(this.#child, 'close');
    this.#child.stdout.on('data', (chunk) => this.#read(String(chunk)));
    this.#child.stderr.on('data', (chunk) => (this.#stderr += String(chunk)));
  }

  count(track: 'video' | 'audio'): number {
    return this.frames.filter((frame) => frame.track === track).length;
  }

  /** Waits until so many frames of the track have come; fails with FFmpeg's words when it ends before. */
  async has(count: number, track: 'video' | 'audio' = 'video'): Promise<void> {
    while (this.count(track) < count) {
      const more = once(this.#child.stdout, 'data').then(() => 'more');
      const next = await Promise.race([more, this.#closed]);
      if (next !== 'more' && this.count(track) < count) {
        throw new Error(`the receiver ended at ${this.count(track)} of ${count} frames:\n${this.#stderr}`);
      }
    }
  }

  /** Asks FFmpeg to end and to complete its files. */
  async end(): Promise<void> {
    this.#child.kill('SIGINT');
    await this.#closed;
  }

  /** Waits until FFmpeg ends by itself; what it said. */
  async ended(): Promise<string> {
    await this.#closed;
    return this.#stderr;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const base = /^#tb (\d+): 1\/(\d+)$/.exec(line);
      if (base !== null) this.#ticksPerS.set(Number(base[1]), Number(base[2]));
      else if (!line.startsWith('#')) this.#readFrame(line);
    }
  }

  #readFrame(line: string): void {
    const [stream = 0, , pts = 0] = line.split(',').map(Number);
    const ptsS = pts / (this.#ticksPerS.get(stream) ?? Number.NaN);
    // Mapped in the order of the session, which begins with the video.
    this.frames.push({ track: stream === 0 ? 'video' : 'audio', ptsS });
  }
}
