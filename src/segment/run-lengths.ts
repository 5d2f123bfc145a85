/**
 * A run-length table of an MP4 (`stts`, `ctts`), entry by entry as it is stored: a number of samples, and the value of
 * each of them. Places found are kept at intervals, so that a table is walked through once and not for every question.
 */

import { lowerBound } from './track-tables.ts';

/** Entries of 32-bit words. */
export interface EntryTable {
  readonly count: number;
  word(entry: number, word?: number): number;
}

/** An entry, and what lies before it: samples, and the sum of their values. */
interface Mark {
  readonly entry: number;
  readonly samples: number;
  readonly sum: number;
}

/** Entries from one mark to the next. */
const MARK_ENTRIES = 128;
const BEGIN: Mark = { entry: 0, samples: 0, sum: 0 };

export class RunLengths {
  readonly #table: EntryTable;
  readonly #marks: Mark[] = [BEGIN];
  /** Where the last question ended: the next one is often a little behind. */
  #last = BEGIN;

  constructor(table: EntryTable) {
    this.#table = table;
  }

  /** Entry of a sample, and how many samples of the entry lie before it; behind the last entry, that does not exist. */
  place(sample: number): { readonly entry: number; readonly skipped: number } {
    const { entry, samples } = this.#find(sample, 'samples');
    return { entry, skipped: entry === this.#table.count ? 0 : sample - samples };
  }

  /** Value of a sample. */
  valueAt(sample: number): number {
    const { entry } = this.#find(sample, 'samples');
    return this.#value(Math.min(entry, this.#table.count - 1));
  }

  /** Sum of the values of all samples before `sample`. */
  sumBefore(sample: number): number {
    const { entry, samples, sum } = this.#find(sample, 'samples');
    return entry === this.#table.count ? sum : sum + (sample - samples) * this.#value(entry);
  }

  /** The first sample before which the values sum up to `sum` or more: of values that are not negative. */
  firstAtSum(sum: number): number {
    const { entry, samples, sum: before } = this.#find(sum, 'sum');
    if (entry === this.#table.count) return samples;
    return samples + Math.max(0, Math.ceil((sum - before) / this.#value(entry)));
  }

  #value(entry: number): number {
    return this.#table.word(entry, 1);
  }

  /** The last entry before which there is no more than `wanted`; behind the last one, if they end before it. */
  #find(wanted: number, by: 'samples' | 'sum'): Mark {
    const begin = this.#last[by] <= wanted ? this.#last : this.#markBefore(wanted, by);
    let { entry, samples, sum } = begin;
    const [table, bySamples] = [this.#table, by === 'samples'];
    for (const { count: entries } = table; entry < entries; entry++) {
      if (entry === this.#marks.length * MARK_ENTRIES) this.#marks.push({ entry, samples, sum });
      const count = table.word(entry);
      const add = count * table.word(entry, 1);
      if (wanted < (bySamples ? samples + count : sum + add)) break;
      samples += count;
      sum += add;
    }
    this.#last = { entry, samples, sum };
    return this.#last;
  }

  #markBefore(wanted: number, by: 'samples' | 'sum'): Mark {
    // Marks and what is wanted are whole numbers.
    const behind = lowerBound(this.#marks.length, (i) => this.#marks[i]?.[by] ?? 0, Math.floor(wanted) + 1);
    return this.#marks[behind - 1] ?? BEGIN;
  }
}
