/**
 * Which code an input reaches: V8's precise block coverage of `src`, in this process. An input that reaches a block that
 * none did before it is worth keeping. Not to be mixed with `vitest --coverage`, which reads the same counters.
 */
import { type Profiler, Session } from 'node:inspector';

/** The product, and the mistakes that test the engine. */
const COVERED = /^(?!.*\/node_modules\/).*(\/src\/|\/test\/fuzz\/planted\/)/;

/** One function of a script; its inner functions are entries of their own. */
type FunctionKey = string;

export class Coverage {
  readonly #session = new Session();
  /** Source positions of each function that were reached, one byte for each. */
  readonly #reached = new Map<FunctionKey, Uint8Array>();

  start(): void {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  stop(): void {
    this.#post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }

  /** Whether anything was reached since the last call that was never before; with `remember` it counts as reached now. */
  takeNew(remember: boolean): boolean {
    const taken = this.#post('Profiler.takePreciseCoverage') as Profiler.TakePreciseCoverageReturnType | undefined;
    let isNew = false;
    for (const { url, functions } of taken?.result ?? []) {
      if (!COVERED.test(url)) continue;
      for (const one of functions) if (this.#add(url, one, remember)) isNew = true;
    }
    return isNew;
  }

  /** Functions of `src` that were reached. */
  get functions(): number {
    return this.#reached.size;
  }

  #add(url: string, { functionName, ranges }: Profiler.FunctionCoverage, remember: boolean): boolean {
    const [whole] = ranges;
    if (whole === undefined || whole.count === 0) return false;
    const { startOffset: start, endOffset: end } = whole;
    const key = `${url}:${functionName}:${start}:${end}`;
    const now = new Uint8Array(end - start);
    // Ranges are nested, outer ones first.
    for (const range of ranges) now.fill(range.count > 0 ? 1 : 0, range.startOffset - start, range.endOffset - start);
    const before = this.#reached.get(key);
    if (before !== undefined && now.every((hit, at) => hit === 0 || before[at] === 1)) return false;
    if (remember) this.#reached.set(key, before === undefined ? now : now.map((hit, at) => hit | (before[at] ?? 0)));
    return true;
  }

  /** The inspector of the own thread answers at once. */
  #post(method: string, params: object = {}): object | undefined {
    let failure: Error | null = null;
    let answer: object | undefined;
    this.#session.post(method, params, (error: Error | null, result?: object) => {
      failure = error;
      answer = result;
    });
    if (failure !== null) throw failure;
    return answer;
  }
}
