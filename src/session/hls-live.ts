/**
 * The numbers of a live playlist: which entry has which, and what has slid out of it. An entry keeps its number; numbers
 * never go back, not over a restart either: a list that begins anew begins with the time in tenths of seconds, and units
 * are longer than that.
 */
import { type Entry, longestS } from './hls-playlist.ts';

/** What a live playlist shows at least, if there is as much. */
export const WINDOW_S = 60;

interface Numbered {
  readonly key: string;
  readonly entry: Entry;
}

export interface LiveWindow {
  readonly entries: readonly Entry[];
  /** Number of the first entry. */
  readonly sequence: number;
  /** Discontinuities before it. */
  readonly discontinuities: number;
  /** No entry is longer, seconds when rounded. */
  readonly targetS: number;
}

export class LiveList {
  #window: readonly Numbered[] = [];
  #sequence = 0;
  #discontinuities = 0;
  /** It must not change: it grows where a camera's GOPs are longer than it was thought. */
  #targetS: number;

  constructor(targetS: number) {
    this.#targetS = targetS;
  }

  /** Takes the entries that there are now, in order, and returns those to show. */
  update(entries: readonly Entry[], nowUtcMs: number): LiveWindow {
    const found = entries.map((entry) => ({ key: keyOf(entry), entry }));
    const known = new Set(this.#window.map(({ key }) => key));
    // The last one that is known: who looked earlier and comes later has nothing new.
    const at = found.findLastIndex(({ key }) => known.has(key));
    if (at === -1) this.#beginAnew(found, nowUtcMs);
    else this.#window = [...this.#window, ...found.slice(at + 1)];
    this.#slide();
    const shown = this.#window.map(({ entry }) => entry);
    this.#targetS = Math.max(this.#targetS, longestS(shown));
    return { entries: shown, sequence: this.#sequence, discontinuities: this.#discontinuities, targetS: this.#targetS };
  }

  #beginAnew(found: readonly Numbered[], nowUtcMs: number): void {
    const behind = this.#sequence + this.#window.length;
    this.#sequence = Math.max(behind, Math.floor(nowUtcMs / 100));
    this.#discontinuities += this.#window.length > 0 ? 1 : 0;
    this.#window = found;
  }

  /** Drops entries from the front while enough is left. */
  #slide(): void {
    let leftS = this.#window.reduce((sum, { entry }) => sum + entry.durationS, 0);
    let dropped = 0;
    for (const { entry } of this.#window) {
      leftS -= entry.durationS;
      if (leftS < WINDOW_S) break;
      dropped++;
    }
    const kept = this.#window.slice(dropped);
    const gone = this.#window.slice(1, dropped + 1);
    this.#sequence += dropped;
    this.#discontinuities += gone.filter(({ entry }) => entry.discontinuity).length;
    this.#window = kept;
  }
}

function keyOf({ segment, unit }: Entry): string {
  return `${segment.id}/${unit.from}-${unit.to}`;
}
