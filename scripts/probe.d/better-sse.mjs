// A server as better-sse's own guide has it: a channel, and an event each second.
import { createServer } from 'node:http';
import { createChannel, createSession } from 'better-sse';

const channel = createChannel();
let number = 0;
setInterval(() => channel.broadcast({ number: ++number }, 'message', { eventId: String(number) }), 1000);

const server = createServer(async (request, response) => {
  const session = await createSession(request, response);
  channel.register(session);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
