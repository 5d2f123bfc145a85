/**
 * Addresses of cameras without what must not be seen: user names, passwords, tokens. Everything that is logged, thrown or
 * shown goes through here; only the program that connects gets the whole address, and not on its command line.
 *
 * What an address means is not always certain (a password may hold any character, tokens stand in paths): in doubt more is
 * hidden than need be.
 */

/** Keys of queries that cameras use for what is no secret. The value of any other key is hidden. */
const OPEN_KEYS: ReadonlySet<string> = new Set([
  'channel',
  'channelid',
  'chn',
  'codec',
  'fps',
  'inst',
  'mode',
  'profile',
  'proto',
  'resolution',
  'stream',
  'subtype',
  'transport',
  'unicast',
  'video',
  'audio',
]);
const OPEN_VALUE = /^[\w.-]{0,12}$/;
/** Other keys are hidden with their value: a password with an & looks like one. */
const USUAL_KEY =
  /^(?:user(?:name)?|usr|login|pass(?:word|wd|phrase)?|pwd|psw|(?:auth|access_)?token|auth|(?:api_?)?key|streamid)$/i;
/** Options of ffmpeg whose values are no secrets; of any other they are. */
const OPEN_OPTION =
  /^(?:f|re|rtsp_transport|rtsp_flags|allowed_media_types|timeout|rw_timeout|listen|probesize|analyzeduration|framerate|video_size|input_format|pixel_format|fflags|flags|buffer_size|max_delay|reorder_queue_size|stream_loop|mode|latency|pkt_size|tls_verify|verify|auto_convert)$/;
/** A segment of a path behind one of these is a secret. */
const SECRET_SEGMENT = /^(?:.*token|.*key|.*secret|auth|pass(?:word|wd|phrase)?|pwd)$/i;
/** Schemes that have a key to the stream in their path, behind the name of an application. */
const KEY_IN_PATH = /rtmp\w*:\/\/$/i;
/** Names that nobody would give to a stream by hand: random ones, which are its key. */
const RANDOM_NAME =
  /^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?:[A-Za-z\d]{16,}|[\w-]{24,})$|^[\da-f-]{32,}$|^[\da-f]{16,}[\da-f-]*$/;
/** Shorter pieces of a secret are not looked for: they would be found in ordinary words. */
const MIN_PIECE_CHARACTERS = 3;
const HIDDEN = '***';

export interface HiddenAddress {
  /** The address without secrets. */
  readonly shown: string;
  /** `text` with the address and each of its secrets replaced, however they are written. */
  readonly redact: (text: string) => string;
}

const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i;
/** A scheme, perhaps behind blanks or that of a protocol which wraps another one (`async:http://`). */
const LENIENT_SCHEME = /^\s*(?:[a-z][a-z0-9+.-]*:)*?[a-z][a-z0-9+.-]*:\/\//i;
/** A user name and a password without a scheme, or with one that is mistyped. */
const HAS_PASSWORD = /:.*@/s;
/** An address whose scheme was forgotten. */
const MISTYPED = /^\/\/[^/]*@/;
const HAS_SECRET_QUERY = /\?(?:.*&)?(?:pass\w*|pwd|psw|token|auth|key)=/i;
const ABSOLUTE_PATH = /^\/|^[a-z]:[\\/]/i;
const NUMERIC_HOST = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[\da-f:.]+\])(?=[:/?#]|$)/i;
const HOST_AND_PORT = /^(?:[^\s:[\]%@=]*|\[[\da-f:.]+(?:%\w+)?\])(?::\d{0,5})?$/i;

/** Whether it is an address, not the path of a file or a device. */
export function isAddress(input: string): boolean {
  return SCHEME.test(input);
}

/** Of an address (the path of a file or a device is shown as it is), and of the options that it is opened with. */
export function hideSecrets(input: string, options: Readonly<Record<string, string>> = {}): HiddenAddress {
  const secrets = new Set<string>();
  for (const [key, value] of Object.entries(options)) if (!OPEN_OPTION.test(key)) secrets.add(value);
  const scheme = LENIENT_SCHEME.exec(input)?.[0] ?? (looksLikeAddress(input) ? '' : undefined);
  const shown = scheme === undefined ? input : `${scheme.trimStart()}${hideRest(scheme, input, secrets)}`;
  return { shown, redact: redactor(input, shown, secrets) };
}

/** An address that was mistyped goes for a path, and must not be shown either. */
function looksLikeAddress(input: string): boolean {
  if (MISTYPED.test(input)) return true;
  return !ABSOLUTE_PATH.test(input) && (HAS_PASSWORD.test(input) || HAS_SECRET_QUERY.test(input));
}

/** What may be shown behind the scheme. Not by URL: what a camera takes for an address need not be one. */
function hideRest(scheme: string, input: string, secrets: Set<string>): string {
  const rest = input.slice(scheme.length);
  const at = rest.lastIndexOf('@');
  // With an @ in the path nobody can tell it from a password that holds a slash, unless a number of a host follows.
  const isAmbiguous = at > endOfHost(rest) && !NUMERIC_HOST.test(rest.slice(at + 1));
  const afterUser = rest.slice(at + 1);
  const end = endOfHost(afterUser);
  const host = afterUser.slice(0, end);
  if (isAmbiguous || !HOST_AND_PORT.test(host)) {
    addUser(rest, secrets);
    addUser(rest.slice(0, Math.max(0, at)), secrets);
    return HIDDEN;
  }
  addUser(rest.slice(0, Math.max(0, at)), secrets);
  return `${host}${hidePlace(scheme, afterUser.slice(end), secrets)}`;
}

function endOfHost(rest: string): number {
  const end = rest.search(/[/?#]/);
  return end === -1 ? rest.length : end;
}

/** User name and password, together and apart, and as HTTP sends them. */
function addUser(user: string, secrets: Set<string>): void {
  const [name, password = ''] = cut(user, ':');
  const forHttp = password === '' ? '' : Buffer.from(decoded(user)).toString('base64');
  for (const secret of [user, name, password, forHttp]) secrets.add(secret);
}

/** Path, query and fragment. */
function hidePlace(scheme: string, place: string, secrets: Set<string>): string {
  const [beforeFragment, fragment] = cut(place, '#');
  const [path, query] = cut(beforeFragment, '?');
  if (fragment !== undefined) secrets.add(fragment);
  const shownPath = KEY_IN_PATH.test(scheme) ? hideStreamKey(path, secrets) : hideSegments(path, secrets);
  const shownQuery =
    query === undefined
      ? ''
      : `?${query
          .split('&')
          .map((part) => hideValue(part, secrets))
          .join('&')}`;
  const shownFragment = fragment === undefined ? '' : `#${fragment === '' ? '' : HIDDEN}`;
  return `${shownPath}${shownQuery}${shownFragment}`;
}

/** In front of the first `separator`, and behind it if there is one. */
function cut(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** All but the name of the application; that too, where it stands alone. */
function hideStreamKey(path: string, secrets: Set<string>): string {
  const [application = '', ...keys] = path.split('/').filter((segment) => segment !== '');
  if (application === '') return path;
  const hidden = keys.length === 0 ? [application] : [...keys, keys.join('/')];
  for (const secret of hidden) secrets.add(secret);
  return keys.length === 0 || RANDOM_NAME.test(application) ? `/${HIDDEN}` : `/${application}/${HIDDEN}`;
}

/** Some cameras want `user=…&password=…` in the path. What follows a secret may belong to it. */
function hideSegments(path: string, secrets: Set<string>): string {
  const segments = path.split('/');
  const first = segments.findIndex(
    (segment, i) => isSecretSegment(segment) || (segment !== '' && SECRET_SEGMENT.test(segments[i - 1] ?? '')),
  );
  if (first === -1) return path;
  const hidden = segments.slice(first);
  for (const secret of [hidden.join('/'), ...hidden]) secrets.add(secret);
  const fields = decoded(hidden.join('/')).split(/[&;,_/](?=[a-z]\w*=)/i);
  for (const field of fields) secrets.add(cut(field, '=')[1] ?? field);
  return [...segments.slice(0, first), HIDDEN].join('/');
}

function isSecretSegment(segment: string): boolean {
  const text = decoded(segment);
  if (/[:@\s]/.test(text) || RANDOM_NAME.test(text)) return true;
  return text.includes('=') && !text.split(/[&;_]/).every(isOpen);
}

function isOpen(field: string): boolean {
  const [key, value] = cut(field, '=');
  return value !== undefined && OPEN_KEYS.has(key.toLowerCase()) && OPEN_VALUE.test(value);
}

function hideValue(part: string, secrets: Set<string>): string {
  if (part === '' || isOpen(part)) return part;
  const [key, value = ''] = cut(part, '=');
  // A bare token may end with the = of base64.
  const isField = USUAL_KEY.test(key) && !/^=*$/.test(value);
  secrets.add(isField ? value : part);
  if (!isField) secrets.add(key);
  return isField ? `${key}=${HIDDEN}` : HIDDEN;
}

function redactor(input: string, shown: string, secrets: ReadonlySet<string>): (text: string) => string {
  const wanted = [...secrets].flatMap((secret) => [secret, ...piecesOf(secret)]);
  const spellings = new Set(wanted.flatMap(spellingsOf).filter((spelling) => spelling !== ''));
  if (spellings.size === 0 && shown === input) return (text) => text;
  // The longest first: one secret may be a part of another.
  const all = [...spellings].toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp([input, ...all].map(escaped).join('|'), 'gi');
  return (text) => text.replace(pattern, (found) => (found.toLowerCase() === input.toLowerCase() ? shown : HIDDEN));
}

/** What ffmpeg, or this file, may take for a host, a path or a fragment of its own. */
function piecesOf(secret: string): string[] {
  return secret.split(/[/?#@:&=;]/).filter((piece) => piece.length >= MIN_PIECE_CHARACTERS);
}

function spellingsOf(secret: string): string[] {
  const plain = decoded(secret);
  const encoded = encodeURIComponent(plain);
  const strict = encoded.replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16)}`);
  return [secret, plain, encoded, strict, encodeURI(plain), encodeURI(wellFormed(secret)), plain.replaceAll(' ', '+')];
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
}

/** Without percent-encoding, as far as it is one. */
function decoded(text: string): string {
  const plain = text.replace(/(?:%[\da-f]{2})+/gi, (encoded) => {
    try {
      return decodeURIComponent(encoded);
    } catch {
      return encoded;
    }
  });
  return wellFormed(plain);
}

/** Half a surrogate pair, which cannot be encoded, becomes U+FFFD. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString('utf8');
}
