// A door before the supernode's edge that counts what passes: requests by method, and body bytes. A test sees there
// what a visitor's browser really sent, which the page itself cannot see.
import { createServer, request } from 'node:http';

/** `edge` is where the requests go on to. */
export async function startDoor(edge) {
  const { hostname, port } = new URL(edge);
  const counts = { methods: {}, blobBytes: 0 };
  const server = createServer((asked, answer) => {
    counts.methods[asked.method] = (counts.methods[asked.method] ?? 0) + 1;
    const isBlob = asked.url.startsWith('/blackhole/v1/blobs/');
    const onward = request({ hostname, port, method: asked.method, path: asked.url, headers: asked.headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.on('data', (chunk) => { if (isBlob) counts.blobBytes += chunk.length; });
      got.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    answer.on('close', () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done));
  return {
    url: `http://localhost:${server.address().port}`,
    counts,
    close: () => new Promise((closed) => { server.close(closed); server.closeAllConnections(); }),
  };
}
