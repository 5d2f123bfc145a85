/**
 * What a camera sends, as data, and the GStreamer pipeline that makes gst-rtsp-server send it. Payloads go from the file
 * to the RTP packets as they are: no parser stands between an MP4 track and its payloader.
 */

/**
 * `tracks`: MP4 or QuickTime, each frame at its time in the file. `elementary`: a raw H.264 or H.265 byte stream without
 * B-frames, or ADTS, whose times are counted from its frame rate.
 */
export type Container = 'tracks' | 'elementary';

interface Source {
  readonly file: string;
  /** `tracks` unless told. */
  readonly container?: Container;
  /** Begin again at the end of the file, for ever; `elementary` only. Times go on. */
  readonly loop?: boolean;
  /** After so many frames nothing more is sent, and nothing says so. */
  readonly diesAfterFrames?: number;
  /** After so many frames RTP time stamps are later by this, while packets are sent as before. */
  readonly jump?: { readonly afterFrames: number; readonly seconds: number };
  /** All RTP time stamps are the same, as of a camera whose clock stands still; `elementary` video only. */
  readonly untimed?: boolean;
}

export interface VideoSource extends Source {
  readonly codec: 'h264' | 'h265';
}

export interface AudioSource extends Source {
  readonly codec: 'aac' | 'opus' | 'alaw' | 'ulaw';
}

export interface Stream {
  readonly video?: VideoSource;
  readonly audio?: AudioSource;
  /** One pipeline for all clients, who join it where it is; otherwise each gets the stream from its beginning. */
  readonly shared?: boolean;
}

/** A mount as rtsp_camera.py reads it. */
export interface Mount {
  readonly path: string;
  readonly launch: string;
  readonly shared: boolean;
  readonly probes: readonly Probe[];
}

/** What rtsp_camera.py does with the buffers that come out of an element. */
type Probe =
  | { readonly kind: 'show-as-decoded'; readonly element: string }
  | { readonly kind: 'gate'; readonly element: string; readonly afterBuffers: number }
  | {
      readonly kind: 'jump';
      readonly element: string;
      readonly payloader: string;
      readonly afterBuffers: number;
      readonly seconds: number;
    };

type Kind = 'video' | 'audio';
interface Lane {
  readonly kind: Kind;
  readonly source: VideoSource | AudioSource;
  /** gst-rtsp-server takes the payloaders pay0, pay1, …; the number in the SDP is the same plus 96. */
  readonly index: number;
}

/** G.711 has static payload types; its packets hold 20 ms, as those of cameras do. */
const PAYLOADERS: Readonly<Record<VideoSource['codec'] | AudioSource['codec'], (index: number) => string>> = {
  h264: (index) => `rtph264pay name=pay${index} pt=${96 + index}`,
  h265: (index) => `rtph265pay name=pay${index} pt=${96 + index}`,
  aac: (index) => `rtpmp4gpay name=pay${index} pt=${96 + index}`,
  opus: (index) => `rtpopuspay name=pay${index} pt=${96 + index}`,
  alaw: (index) => `rtppcmapay name=pay${index} pt=8 min-ptime=20000000 max-ptime=20000000`,
  ulaw: (index) => `rtppcmupay name=pay${index} pt=0 min-ptime=20000000 max-ptime=20000000`,
};

const PARSERS: Readonly<Partial<Record<VideoSource['codec'] | AudioSource['codec'], string>>> = {
  h264: 'h264parse ! video/x-h264,stream-format=avc,alignment=au',
  h265: 'h265parse ! video/x-h265,stream-format=hvc1,alignment=au',
  aac: 'aacparse ! audio/mpeg,stream-format=raw',
};

export function mountOf(path: string, stream: Stream): Mount {
  const lanes = lanesOf(stream);
  if (lanes.length === 0) throw new TypeError(`${path}: a stream needs video or audio`);
  return {
    path: `/${path}`,
    launch: `( ${lanes.map(laneLaunch).join(' ')} )`,
    shared: stream.shared ?? false,
    probes: lanes.flatMap(probesOf),
  };
}

function lanesOf({ video, audio }: Stream): Lane[] {
  const lanes: Lane[] = [];
  if (video !== undefined) lanes.push({ kind: 'video', source: video, index: 0 });
  if (audio !== undefined) lanes.push({ kind: 'audio', source: audio, index: lanes.length });
  return lanes;
}

function laneLaunch({ kind, source, index }: Lane): string {
  return `${framesOf(kind, source, index)} ! queue name=${kind} ! ${PAYLOADERS[source.codec](index)}`;
}

/** Each lane opens its file itself: one that stands still does not hold the other up. */
function framesOf(kind: Kind, source: VideoSource | AudioSource, index: number): string {
  const { file, codec, container = 'tracks', loop = false } = source;
  if (container === 'tracks') {
    if (loop) throw new TypeError(`${file}: only elementary streams can begin again`);
    return `filesrc location="${file}" ! qtdemux name=file${index} file${index}.${kind}_0`;
  }
  const parser = PARSERS[codec];
  if (parser === undefined) throw new TypeError(`${file}: ${codec} has no elementary stream`);
  return `${loop ? 'multifilesrc loop=true' : 'filesrc'} location="${file}" ! ${parser}`;
}

function probesOf({ kind, source, index }: Lane): Probe[] {
  const { container, diesAfterFrames, jump, untimed = false } = source;
  const probes: Probe[] = [];
  if (container === 'elementary' && kind === 'video' && !untimed) {
    probes.push({ kind: 'show-as-decoded', element: kind });
  }
  if (diesAfterFrames !== undefined) probes.push({ kind: 'gate', element: kind, afterBuffers: diesAfterFrames });
  if (jump !== undefined) {
    const { afterFrames: afterBuffers, seconds } = jump;
    probes.push({ kind: 'jump', element: kind, payloader: `pay${index}`, afterBuffers, seconds });
  }
  return probes;
}
