export type Holdings = Readonly<Record<string, number>>;
export function holdings(): Holdings;
export function excess(before: Holdings, now: Holdings): string;
export function settledHoldings(): Promise<Holdings>;
export function leftSince(before: Holdings): Promise<string>;
export function memoryInUse(): Promise<{ readonly heapBytes: number; readonly processBytes: number }>;
