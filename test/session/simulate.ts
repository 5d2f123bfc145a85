/**
 * Sessions and their limits on a clock of the test: each sends a piece, asks its limiter, and is woken on the grid of
 * time, a little late, as in earnest.
 */
import type { RateLimiter } from '../../src/session/rate.ts';

export interface Simulated {
  readonly limiter: RateLimiter;
  /** Largest piece that there is to send: slices may be small. Default: whatever the limiter allows. */
  readonly appetiteBytes?: number;
  /** How fast the client takes it. Default: at once. */
  readonly clientBytesPerSecond?: number;
  readonly startMs?: number;
  /** Sends no more once it has sent so much. */
  readonly lengthBytes?: number;
}

export interface Sent {
  bytes: number;
  /** Every piece: when, and how large. */
  readonly pieces: { readonly atMs: number; readonly bytes: number }[];
}

/** Who is due is woken at the next multiple of this; who sleeps for half a second, or for two, of the others. */
const [GRID_MS, LONG_GRID_MS, LONGEST_GRID_MS] = [20, 60, 500];

function wokenAtMs(nowMs: number, waitMs: number): number {
  const gridMs = waitMs < 500 ? GRID_MS : waitMs < 2000 ? LONG_GRID_MS : LONGEST_GRID_MS;
  return Math.ceil((nowMs + waitMs) / gridMs) * gridMs;
}

/** Less than such a part of a ms is no wait: instants are sums of many numbers. */
const ROUNDING_MS = 1e-6;

/** Bytes that a session sent in [fromMs, toMs). */
export function bytesBetween({ pieces }: Sent, fromMs: number, toMs: number): number {
  return pieces.reduce((sum, { atMs, bytes }) => (atMs >= fromMs && atMs < toMs ? sum + bytes : sum), 0);
}

/** Runs all sessions until `endMs`. `onTime` is called as time goes on. */
export function simulate(sessions: readonly Simulated[], endMs: number, onTime?: (nowMs: number) => void): Sent[] {
  const sent = sessions.map((): Sent => ({ bytes: 0, pieces: [] }));
  const due = sessions.map(({ startMs = 0 }) => startMs);
  /** Bytes that the client is still taking: the limiter is asked when the sender has room again. */
  const taking = sessions.map(() => 0);
  /** Begins, or has slept: asks once more before it sends. */
  const asks = sessions.map(() => true);
  for (;;) {
    const i = due.indexOf(Math.min(...due));
    const [session, own, nowMs] = [sessions[i], sent[i], due[i]];
    if (session === undefined || own === undefined || nowMs === undefined || nowMs >= endMs) return sent;
    onTime?.(nowMs);
    const owedMs = asks[i] === true ? (session.limiter.owedMs?.(nowMs) ?? 0) : 0;
    asks[i] = owedMs > ROUNDING_MS;
    if (owedMs > ROUNDING_MS) {
      due[i] = wokenAtMs(nowMs, owedMs);
      continue;
    }
    const { limiter, lengthBytes = Infinity, appetiteBytes = Infinity, clientBytesPerSecond = Infinity } = session;
    if (taking[i] === 0) {
      const bytes = Math.min(limiter.pieceBytes, appetiteBytes, lengthBytes - own.bytes);
      own.bytes += bytes;
      own.pieces.push({ atMs: nowMs, bytes });
      taking[i] = bytes;
      due[i] = nowMs + (bytes / clientBytesPerSecond) * 1000;
      continue;
    }
    const waitMs = limiter.spend(taking[i] ?? 0, nowMs);
    taking[i] = 0;
    asks[i] = waitMs > 0;
    due[i] = waitMs === 0 ? nowMs : wokenAtMs(nowMs, waitMs);
    if (own.bytes < lengthBytes) continue;
    limiter.end?.();
    due[i] = Infinity;
  }
}
