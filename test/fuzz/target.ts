/** What is fuzzed. */
import type { Random } from './random.ts';

export interface FuzzTarget {
  /** Also the name of its folders of inputs: `corpus/NAME` and `regressions/NAME`. */
  readonly name: string;
  /** Inputs to begin with besides those of the folders. */
  readonly seeds?: () => readonly Buffer[];
  /** Names of folders in `corpus` to take inputs from; default that of its name. */
  readonly corpora?: readonly string[];
  /** Words of the format, put into inputs and looked for in them. */
  readonly words?: readonly (string | Buffer)[];
  readonly maxBytes?: number;
  /** A last step behind mutations that knows the format: checksums that hold, sizes that fit. */
  readonly finish?: (bytes: Buffer, random: Random) => Buffer;
  /**
   * Takes one input. A result or a FootageError is well; anything else that is thrown is a finding, and so are an input
   * that takes longer, or more memory, than any may (guard.ts).
   */
  readonly run: (bytes: Buffer) => Promise<void> | void;
  /** Called once before and after all inputs. */
  readonly open?: () => Promise<void>;
  readonly close?: () => Promise<void>;
}
