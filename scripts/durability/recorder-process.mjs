/** A recorder in a process of its own (recorder-child.mjs), and what it has said so far. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const CHILD = join(import.meta.dirname, 'recorder-child.mjs');
/** As `footage` sets it: threads that wait for the disk must not keep each other waiting. */
const UV_THREADPOOL_SIZE = '16';
/** Flushes this long before a cut count as those around it. */
const AROUND_MS = 10_000;

export class RecorderProcess {
  options;
  #child;
  #closed;
  #lines;
  /** Looks in the order of time. */
  #looks = [];
  #flushes = new Map();
  #killed = false;

  /** `options`: as of recorder-child.mjs. */
  constructor(options) {
    this.options = options;
    this.#child = spawn(process.execPath, [CHILD, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, UV_THREADPOOL_SIZE },
    });
    this.#closed = once(this.#child, 'close');
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#lines.on('line', (line) => this.#take(JSON.parse(line)));
  }

  #take(line) {
    if (line.flush === undefined) this.#looks.push(line);
    else this.#flushes.set(line.flush, { ...this.#flushes.get(line.flush), ...line });
  }

  /** Waits until `holds()`. @throws when the recorder ends by itself */
  async #until(holds) {
    while (!holds()) {
      const more = once(this.#lines, 'line').then(() => true);
      if (await Promise.race([more, this.#closed.then(() => false)])) continue;
      throw new Error(`a recorder ended by itself (${this.#child.exitCode ?? this.#child.signalCode})`);
    }
  }

  /** Until every camera has appended `frames` frames of its first track. */
  appended(frames) {
    return this.#until(() => this.#looks.at(-1)?.appended.every(([first]) => first >= frames));
  }

  /** Until it has been looked at `atMs` or later, and no flush of before is under way. */
  past(atMs) {
    const settled = () => [...this.#flushes.values()].every((one) => one.endedMs !== undefined || one.beganMs > atMs);
    return this.#until(() => this.#looks.at(-1)?.t >= atMs && settled());
  }

  /** SIGKILL; afterwards everything that it has said has been read. */
  async kill() {
    this.#killed = true;
    const ended = this.#child.exitCode !== null || this.#child.signalCode !== null;
    this.#child.kill('SIGKILL');
    await this.#closed;
    if (ended) throw new Error(`a recorder ended by itself (${this.#child.exitCode ?? this.#child.signalCode})`);
  }

  /** As `kill`, for cleaning up: whatever has become of it. */
  async end() {
    if (!this.#killed) await this.kill().catch(() => undefined);
  }

  get lastLook() {
    return this.#looks.at(-1);
  }

  /** What was known at `atMs`, at the latest. */
  lookBy(atMs) {
    return this.#looks.findLast(({ t }) => t <= atMs);
  }

  /** The first look at `atMs` or later: more than this had not happened by then. */
  lookFrom(atMs) {
    return this.#looks.find(({ t }) => t >= atMs);
  }

  /** When a frame was first seen to be appended. */
  appendedAtMs(camera, track, index) {
    return this.#looks.find(({ appended }) => (appended[camera]?.[track] ?? 0) > index)?.t;
  }

  /** The longest flush that ended shortly before `atMs` or was under way then. */
  flushMsAround(atMs) {
    const near = [...this.#flushes.values()].filter(
      ({ beganMs, endedMs }) => beganMs <= atMs && endedMs > atMs - AROUND_MS,
    );
    return Math.max(0, ...near.map(({ beganMs, endedMs }) => endedMs - beganMs));
  }

  /** The longest time between two looks, shortly before `atMs`: as late as that were its timers, too. */
  lagMsAround(atMs) {
    const near = this.#looks.filter(({ t }) => t > atMs - AROUND_MS && t <= atMs + AROUND_MS);
    return Math.max(0, ...near.map(({ gapMs }) => gapMs));
  }

  /** Over the whole run: the longest that an appended frame has waited to be flushed. */
  longestUnflushedMs() {
    let longest = 0;
    for (let camera = 0; camera < this.options.cameras; camera++) {
      for (const track of this.#looks[0]?.appended[camera]?.keys() ?? [])
        longest = Math.max(longest, this.#unflushedMs(camera, track));
    }
    return longest;
  }

  #unflushedMs(camera, track) {
    let longest = 0;
    let oldest = 0;
    for (const { t, flushed } of this.#looks) {
      const safe = flushed[camera][track];
      const appendedAt = () => this.#looks[oldest];
      while (appendedAt().appended[camera][track] <= safe && appendedAt().t < t) oldest++;
      if (appendedAt().appended[camera][track] > safe) longest = Math.max(longest, t - appendedAt().t);
    }
    return longest;
  }
}
