/**
 * What was recorded, sample by sample: the ground on which the model says what an answer must hold. Nothing here, nor in
 * the model, imports the product.
 */

/** Units of a second in which every tick of every timescale used here is a whole number. */
export const FLICKS = 705_600_000;

export interface Sample {
  readonly payload: Buffer;
  /** Ticks of the track, as are all times of a sample. */
  readonly dts: number;
  readonly duration: number;
  readonly compositionOffset: number;
  readonly sync: boolean;
}

export interface Line {
  readonly kind: 'video' | 'audio';
  readonly timescale: number;
  /** Two lines can be in one answer if these are equal. */
  readonly configuration: string;
  /** How long a frame of sound is when it is decoded. */
  readonly frameSeconds: number;
  /** What each sync sample brings along in an answer that joins several pictures' configurations. */
  readonly parameterSets: Buffer;
  /** In decode order. */
  readonly samples: readonly Sample[];
}

export interface Anchor {
  /** Ticks of the leading track. */
  readonly dts: number;
  readonly utcMs: number;
}

/** Uninterrupted recording: all its DTS count from one instant. */
export interface Run {
  readonly anchors: readonly Anchor[];
  /** Timescale of the track that the anchors belong to. */
  readonly anchorTimescale: number;
  /** The first of the video tracks: no other is in an answer. */
  readonly video: Line | undefined;
  /** By rank among the audio tracks. */
  readonly audios: readonly (Line | undefined)[];
}

/** All lines of a run that answers are made of. */
export const linesOf = ({ video, audios }: Run): Line[] => [video, ...audios].filter((line) => line !== undefined);

export const pts = (sample: Sample): number => sample.dts + sample.compositionOffset;
export const endDts = (sample: Sample): number => sample.dts + sample.duration;
/** Where a sample ends that is presented for its own duration. */
export const endPts = (sample: Sample): number => pts(sample) + sample.duration;
/** Priming, and a lead-in that was hidden in the source: never presented. */
export const isHidden = (sample: Sample): boolean => endPts(sample) <= 0;

export const flicks = ({ timescale }: Line, ticks: number): number => ticks * (FLICKS / timescale);
export const ticks = (timescale: number, instant: number): number => instant / (FLICKS / timescale);

/** The anchor that governs a sample: the last at or before its DTS; before the first anchor the first. */
function anchorOf(run: Run, line: Line, dts: number): Anchor {
  const governs = run.anchors.filter((anchor) => anchor.dts * line.timescale <= dts * run.anchorTimescale);
  const anchor = governs.at(-1) ?? run.anchors[0];
  if (anchor === undefined) throw new Error('a run has an anchor');
  return anchor;
}

/** Wall time of presentation time `ticks` of a sample, Unix ms. */
export function utcOf(run: Run, line: Line, ticks: number, sample: Sample): number {
  const anchor = anchorOf(run, line, sample.dts);
  return anchor.utcMs + ((ticks - (anchor.dts * line.timescale) / run.anchorTimescale) * 1000) / line.timescale;
}

/** A border of a request, as the nearest tick of a track at the sample. */
export function tickOf(run: Run, line: Line, utcMs: number, sample: Sample): number {
  const anchor = anchorOf(run, line, sample.dts);
  const anchorTicks = (anchor.dts * line.timescale) / run.anchorTimescale;
  return Math.round(anchorTicks + ((utcMs - anchor.utcMs) * line.timescale) / 1000);
}

/** Wall time of the first presented instant of a run, Unix ms. */
export function startOf(run: Run): number {
  const starts = linesOf(run).flatMap((line) => {
    const shown = line.samples.filter((sample) => !isHidden(sample));
    return shown.map((sample) => utcOf(run, line, firstTick(line, sample), sample));
  });
  return Math.min(...starts);
}

/** Sound may begin in the middle of a frame: nothing of it before time 0 is presented. A picture is presented whole. */
export function firstTick(line: Line, sample: Sample): number {
  return line.kind === 'audio' ? Math.max(0, pts(sample)) : pts(sample);
}

/** Pieces of a line in which each sample begins, in decode time, where the one before ends. */
export function stretchesOf(samples: readonly Sample[]): Sample[][] {
  const stretches: Sample[][] = [];
  for (const sample of samples) {
    const stretch = stretches.at(-1);
    const last = stretch?.at(-1);
    if (stretch !== undefined && last !== undefined && endDts(last) === sample.dts) stretch.push(sample);
    else stretches.push([sample]);
  }
  return stretches;
}
