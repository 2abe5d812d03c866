// What many write first: from a POST to every open EventSource, and nothing is stored.
//
//   node server.js SOCKET
import express from 'express';

const readers = new Set();
let last = 0;

const app = express();
app.use(express.json({ limit: '64kb' }));

app.get('/events', (request, response) => {
  response.set({
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache',
    'X-Accel-Buffering': 'no',
  });
  readers.add(response);
  request.on('close', () => readers.delete(response));
  response.flushHeaders();
});

app.post('/publish', (request, response) => {
  const { event, data } = request.body ?? {};
  if (typeof event !== 'string' || data === undefined) {
    response.status(400).json({ error: 'event and data are needed' });
    return;
  }
  last += 1;
  const text = `id: ${last}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  for (const reader of readers) reader.write(text);
  response.status(201).json({ id: String(last) });
});

setInterval(() => {
  for (const reader of readers) reader.write(':\n');
}, 15_000);

app.listen(process.argv[2]);
