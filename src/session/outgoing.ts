/** What leaves an archive: the limits that hold for it, its leases, and the counters of it. One for each open archive. */
import type { Catalog } from '../catalog/catalog.ts';
import type { Native, SendPoolState } from '../native-types.ts';
import { Leases } from './leases.ts';
import { Pacing, type PacingOptions, pacingOptions, type PacingPolicy } from './pacing.ts';
import { RecordingFirst, type RecordingFirstState } from './recording-first.ts';
import { SendingCounters, type SendingStats, type Stalls } from './sending-stats.ts';
import { poolThreads, warnOfSmallPool } from './thread-pool.ts';

export interface OutgoingStats {
  readonly sending: SendingStats;
  /** Answers that were planned (pass 1). */
  readonly planning: Stalls;
  readonly pacing: {
    /** Limit of all sessions together; null: none. */
    readonly serverBytesPerSecond: number | null;
    /** null: switched off, or an archive that is only read. */
    readonly recordingFirst: RecordingFirstState | null;
  };
  readonly pool: {
    /** Threads that exports and all file work of the process share. */
    readonly threads: number;
    /** Sends on it, of all archives of this thread; null without the addon. */
    readonly sends: SendPoolState | null;
  };
}

export interface OutgoingDeps {
  readonly native: Native;
  readonly catalog: Pick<Catalog, 'lease'>;
  readonly readOnly: boolean;
}

export class Outgoing {
  readonly pacing: Pacing;
  readonly counters = new SendingCounters();
  readonly recordingFirst: RecordingFirst | undefined;
  readonly leases: Leases;
  readonly #native: Native;
  #planned: Stalls = { count: 0, ms: 0 };

  /** @throws RangeError, TypeError for options */
  constructor(given: PacingOptions | PacingPolicy | undefined, { native, catalog, readOnly }: OutgoingDeps) {
    this.#native = native;
    this.leases = new Leases((...lease) => catalog.lease(...lease));
    const options = pacingOptions(given);
    const { recordingFirst = true } = options;
    const own = recordingFirst === true ? {} : recordingFirst;
    // What is only read has no recorder.
    this.recordingFirst = own === false || readOnly ? undefined : new RecordingFirst(own);
    this.pacing = new Pacing(options, this.recordingFirst);
    warnOfSmallPool();
  }

  /** Counts a planning, however it ends. */
  async planning<T>(plan: () => Promise<T>): Promise<T> {
    const beganMs = performance.now();
    try {
      return await plan();
    } finally {
      const { count, ms } = this.#planned;
      this.#planned = { count: count + 1, ms: ms + performance.now() - beganMs };
    }
  }

  stats(): OutgoingStats {
    return {
      sending: this.counters.snapshot(),
      planning: this.#planned,
      pacing: {
        serverBytesPerSecond: this.pacing.serverBytesPerSecond,
        recordingFirst: this.recordingFirst?.state() ?? null,
      },
      pool: { threads: poolThreads(), sends: this.#native.sendPool?.() ?? null },
    };
  }
}
