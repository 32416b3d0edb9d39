// A publisher's plain web server, and the worst of its kind: static files with ranges and ETags, body bytes
// counted per path, and misbehaviour that is chosen per path.
//
//   node playwright/servers/origin.mjs --root DIR [--port N]     prints one JSON line when it is ready
//
// Control, from a test: GET /-/counters, POST /-/reset, POST /-/misbehave {"/path": "kind"}, POST /-/tag
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, realpathSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.html': 'text/html; charset=utf-8', '.css': 'text/css', '.js': 'text/javascript', '.mjs': 'text/javascript',
  '.json': 'application/json', '.geojson': 'application/geo+json', '.wasm': 'application/wasm', '.svg': 'image/svg+xml',
  '.jpg': 'image/jpeg', '.png': 'image/png', '.webp': 'image/webp', '.woff2': 'font/woff2', '.mp4': 'video/mp4',
  '.webm': 'video/webm', '.zip': 'application/zip', '.gz': 'application/gzip', '.txt': 'text/plain',
};
const TAG_MARK = '<!-- blackhole-tag -->';
const SLOW_FIRST_BYTE_MS = 3_000;
/** An endless body ends here, so that a broken client fails a test and not the machine. */
const ENDLESS_BYTES_MAX = 512 * 1024 * 1024;
const CONTROL_BYTES_MAX = 64 * 1024;

/** What an origin can do wrong, by name. Each gets the request, the answer and the honest file. */
export const misbehaviours = {
  /** Promises more than it sends. */
  'lying-length': (request, response, file) => {
    response.writeHead(200, { ...headers(file), 'content-length': file.size + 1000 });
    stream(file, 0, file.size, response, () => response.destroy());
  },
  'short-length': (request, response, file) => {
    response.writeHead(200, { ...headers(file), 'content-length': Math.max(0, file.size - 1000) });
    stream(file, 0, Math.max(0, file.size - 1000), response);
  },
  'wrong-type': (request, response, file) => {
    response.writeHead(200, { ...headers(file), 'content-type': 'text/html', 'content-length': file.size });
    stream(file, 0, file.size, response);
  },
  'endless-body': (request, response, file) => {
    response.writeHead(200, headers(file));
    const chunk = Buffer.alloc(64 * 1024, 0x42);
    let sent = 0;
    const more = () => {
      while (sent < ENDLESS_BYTES_MAX && !response.destroyed) {
        sent += chunk.length;
        if (!response.write(chunk)) return response.once('drain', more);
      }
      response.end();
    };
    more();
  },
  'redirect-loop': (request, response) => response.writeHead(302, { location: request.url }).end(),
  'range-ignored': (request, response, file) => {
    response.writeHead(200, { ...headers(file), 'content-length': file.size });
    stream(file, 0, file.size, response);
  },
  /** Other bytes of the same length each time it is asked. */
  'changing-content': (request, response, file, state) => {
    const body = readFileSync(file.path);
    body[(state.served = (state.served ?? 0) + 1) % body.length] ^= 0xff;
    const etag = `"changed-${state.served}"`;
    response.writeHead(200, { ...headers(file), etag, 'content-length': body.length }).end(body);
  },
  'slow-first-byte': (request, response, file) => setTimeout(() => honest(request, response, file), SLOW_FIRST_BYTE_MS),
  'server-error': (request, response) => response.writeHead(500, { 'content-type': 'text/plain' }).end('broken'),
  'cut-off': (request, response, file) => {
    response.writeHead(200, { ...headers(file), 'content-length': file.size });
    stream(file, 0, Math.floor(file.size / 2), response, () => response.destroy());
  },
};

/** Starts one; `port` 0 takes a free one. With `mount`, the directory is also found under that path. */
export function startOrigin({ root, port = 0, host = '127.0.0.1', files = {}, headers: extra = {}, mount = '' }) {
  const directory = realpathSync(resolve(root));
  const state = { counters: new Map(), wrongs: new Map(), tag: '', extra: { ...extra }, files: { ...files }, hooks: {} };
  const server = createServer((request, response) => {
    let path = decodeURIComponent(new URL(request.url, 'http://origin').pathname);
    if (mount && path.startsWith(`${mount}/`)) path = path.slice(mount.length);
    if (path.startsWith('/-/')) return control(path, request, response, state);
    const file = find(directory, path === '/' ? '/index.html' : path, state);
    if (!file) return response.writeHead(404, { 'content-type': 'text/plain' }).end('not found');
    count(state, path, response);
    for (const [name, value] of Object.entries(state.extra)) response.setHeader(name, value);
    const wrong = state.wrongs.get(path);
    (wrong ? misbehaviours[wrong.kind] : honest)(request, response, file, wrong);
  });
  server.keepAliveTimeout = 5_000;
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(port, host, () => {
      const url = `http://${host === '127.0.0.1' ? 'localhost' : host}:${server.address().port}`;
      done({
        url,
        port: server.address().port,
        counters: () => Object.fromEntries(state.counters),
        bodyBytes: () => [...state.counters.values()].reduce((sum, { bytes }) => sum + bytes, 0),
        reset: () => state.counters.clear(),
        misbehave: (path, kind) => setWrong(state, path, kind),
        setTag: (tag) => { state.tag = tag; },
        /** Adds a file that is not in the directory, such as the service worker. */
        addFile: (path, source) => { state.files[path] = source; },
        setHeader: (name, value) => { if (value === null) delete state.extra[name]; else state.extra[name] = value; },
        close: () => new Promise((closed) => { server.close(closed); server.closeAllConnections(); }),
      });
    });
  });
}

function setWrong(state, path, kind) {
  if (kind && !(kind in misbehaviours)) throw new Error(`no misbehaviour is called ${kind}`);
  if (kind) state.wrongs.set(path, { kind, served: state.wrongs.get(path)?.served }); else state.wrongs.delete(path);
}

function find(directory, path, state) {
  const source = state.files[path];
  let real;
  try { real = realpathSync(source ?? join(directory, path)); } catch { return null; }
  if (!source && !real.startsWith(directory + sep)) return null;
  const stat = statSync(real);
  if (!stat.isFile()) return null;
  if (real.endsWith('.html')) {
    const body = Buffer.from(readFileSync(real, 'utf8').replace(TAG_MARK, state.tag));
    return { path: real, body, size: body.length, etag: `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"` };
  }
  return { path: real, size: stat.size, etag: `"${stat.size.toString(16)}-${Math.floor(stat.mtimeMs).toString(16)}"` };
}

function headers(file) {
  return {
    'content-type': TYPES[extname(file.path)] ?? 'application/octet-stream',
    etag: file.etag,
    'accept-ranges': 'bytes',
    'cache-control': 'no-cache',
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'content-range, content-length, etag, accept-ranges',
  };
}

function honest(request, response, file) {
  if (request.method === 'OPTIONS') {
    return response.writeHead(204, { ...headers(file), 'access-control-allow-headers': '*', 'access-control-allow-methods': 'GET, HEAD', 'access-control-max-age': '600' }).end();
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return response.writeHead(405).end();
  if (request.headers['if-none-match'] === file.etag) return response.writeHead(304, headers(file)).end();
  const asked = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
  const fresh = !request.headers['if-range'] || request.headers['if-range'] === file.etag;
  if (!asked || !fresh || (asked[1] === '' && asked[2] === '')) {
    response.writeHead(200, { ...headers(file), 'content-length': file.size });
    return request.method === 'HEAD' ? response.end() : stream(file, 0, file.size, response);
  }
  const start = asked[1] === '' ? Math.max(0, file.size - Number(asked[2])) : Number(asked[1]);
  const end = asked[1] === '' || asked[2] === '' ? file.size : Math.min(file.size, Number(asked[2]) + 1);
  if (start >= end) return response.writeHead(416, { 'content-range': `bytes */${file.size}` }).end();
  response.writeHead(206, { ...headers(file), 'content-length': end - start, 'content-range': `bytes ${start}-${end - 1}/${file.size}` });
  return request.method === 'HEAD' ? response.end() : stream(file, start, end, response);
}

function stream(file, start, end, response, after = () => response.end()) {
  if (end <= start) return after();
  if (file.body) { response.write(file.body.subarray(start, end)); return after(); }
  const reading = createReadStream(file.path, { start, end: end - 1 });
  reading.pipe(response, { end: false });
  reading.once('end', after).once('error', () => response.destroy());
  response.once('close', () => reading.destroy());
}

/** Counts what is handed to the connection as body, which is what a publisher pays for. */
function count(state, path, response) {
  const entry = state.counters.get(path) ?? { requests: 0, bytes: 0 };
  state.counters.set(path, entry);
  entry.requests += 1;
  for (const name of ['write', 'end']) {
    const original = response[name].bind(response);
    response[name] = (chunk, ...rest) => {
      if (chunk && typeof chunk !== 'function') entry.bytes += Buffer.byteLength(chunk);
      return original(chunk, ...rest);
    };
  }
}

async function control(path, request, response, state) {
  const json = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  if (path === '/-/counters') return json(Object.fromEntries(state.counters));
  let body = '';
  for await (const chunk of request) {
    body += chunk;
    if (body.length > CONTROL_BYTES_MAX) return response.writeHead(413).end();
  }
  try {
    if (path === '/-/reset') state.counters.clear();
    else if (path === '/-/tag') state.tag = body;
    else if (path === '/-/misbehave') Object.entries(JSON.parse(body)).forEach(([at, kind]) => setWrong(state, at, kind));
    else return response.writeHead(404).end();
    return json({ ok: true });
  } catch (error) {
    return response.writeHead(400, { 'content-type': 'text/plain' }).end(error.message);
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const argument = (name, otherwise) => {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? otherwise : process.argv[at + 1];
  };
  const files = Object.fromEntries(process.argv.flatMap((word, at) => (word === '--file' ? [process.argv[at + 1].split('=')] : [])));
  const origin = await startOrigin({ root: argument('root', '.'), port: Number(argument('port', 0)), files });
  origin.setTag(argument('tag', ''));
  console.log(JSON.stringify({ ready: true, url: origin.url }));
  const stop = () => origin.close().then(() => process.exit(0));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  // Whoever started this holds the other end of its input; when they are gone, so is the reason to run.
  process.stdin.on('end', stop).resume();
}
