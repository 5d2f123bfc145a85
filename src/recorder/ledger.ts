/**
 * How many frames of each track a recording has handed over, has in its files, has made durable, and has lost: segment by
 * segment, since a segment whose disk fails takes back what was counted of it. Loop thread only.
 *
 * Invariant: `flushed` counts a beginning of what was appended. A segment that is still being sealed, or waits for its
 * recovery, holds back the counts of those behind it.
 */

/** Of one segment; frames per track. */
export class SegmentAccount {
  /** Handed over to be written. */
  readonly pushed: number[];
  /** In the file. */
  appended: number[];
  /** Durable. */
  durable: number[];
  /** Sealed, or gone: the counts are final, and all that is appended is durable. */
  settled = false;
  /** Its disk has failed: what becomes of its frames is known when it has been recovered. */
  abandoned = false;

  constructor(tracks: number) {
    this.pushed = zeros(tracks);
    this.appended = zeros(tracks);
    this.durable = zeros(tracks);
  }

  /** `count` more frames of a track are handed over. */
  push(track: number, count: number): void {
    this.pushed[track] = (this.pushed[track] ?? 0) + count;
  }

  /** `count` more frames of a track are in the file. */
  append(track: number, count: number): void {
    if (!this.abandoned) this.appended[track] = (this.appended[track] ?? 0) + count;
  }

  /** Frames `counts` are durable; flushes may overlap. */
  confirm(counts: readonly number[]): void {
    if (!this.abandoned) this.durable = this.durable.map((count, i) => Math.max(count, counts[i] ?? 0));
  }

  settle(): void {
    this.durable = this.appended;
    this.settled = true;
  }
}

export class Ledger {
  readonly #lost: number[];
  /** Frames of settled segments that lie before `#accounts`. */
  #settled: number[];
  #accounts: SegmentAccount[] = [];

  constructor(tracks: number) {
    this.#lost = zeros(tracks);
    this.#settled = zeros(tracks);
  }

  open(): SegmentAccount {
    this.#fold();
    const account = new SegmentAccount(this.#lost.length);
    this.#accounts.push(account);
    return account;
  }

  get appended(): number[] {
    this.#fold();
    return this.#accounts.reduce((sum, { appended }) => added(sum, appended), this.#settled);
  }

  get flushed(): number[] {
    this.#fold();
    const [first] = this.#accounts;
    return first === undefined ? [...this.#settled] : added(this.#settled, first.durable);
  }

  get lost(): number[] {
    return [...this.#lost];
  }

  lostSince(before: readonly number[]): number[] {
    return this.#lost.map((count, i) => count - (before[i] ?? 0));
  }

  lose(track: number, count = 1): void {
    this.#lost[track] = (this.#lost[track] ?? 0) + count;
  }

  /** The disk failed under a segment: of what it was given only what is in the file counts, or only what is durable. */
  abandon(account: SegmentAccount, onlyDurable: boolean): void {
    account.abandoned = true;
    if (onlyDurable) account.appended = [...account.durable];
    account.pushed.forEach((pushed, track) => this.lose(track, pushed - (account.appended[track] ?? 0)));
  }

  /** An abandoned segment is sealed, or gone: it holds these frames. */
  settle(account: SegmentAccount, frames: readonly number[]): void {
    account.appended.forEach((counted, track) => this.lose(track, counted - (frames[track] ?? 0)));
    account.appended = account.appended.map((_, track) => frames[track] ?? 0);
    account.settle();
  }

  /** Settled segments in front need no accounts of their own: a recording may last for years. */
  #fold(): void {
    const unsettled = this.#accounts.findIndex(({ settled }) => !settled);
    const count = unsettled === -1 ? this.#accounts.length : unsettled;
    for (const { appended } of this.#accounts.splice(0, count)) this.#settled = added(this.#settled, appended);
  }
}

const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);

const added = (a: readonly number[], b: readonly number[]): number[] => a.map((count, i) => count + (b[i] ?? 0));
