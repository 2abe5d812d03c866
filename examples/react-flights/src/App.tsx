import { useState } from 'react';
import type { StreamEvent } from 'sse-cgi';
import { useStream } from './useStream';

interface Flight {
  flight: string;
  origin: string;
  scheduled: string;
  state: string;
}

/** The flights after an event: an unnamed one has the whole table, the others have one flight. */
function after(flights: Flight[], { type, data }: StreamEvent): Flight[] {
  const told = JSON.parse(data);
  if (type === 'message') return told;
  if (type === 'flightRemoval') return flights.filter(({ flight }) => flight !== told.flight);
  return flights.map((flight) => (flight.flight === told.flight ? { ...flight, ...told } : flight));
}

export function App() {
  const [flights, setFlights] = useState<Flight[]>([]);
  const [isOn, setIsOn] = useState(true);
  const state = useStream(
    '/events/flights',
    ['flightStateUpdate', 'flightRemoval'],
    (event) => setFlights((flights) => after(flights, event)),
    isOn,
  );
  return (
    <main>
      <h1>Arrivals</h1>
      <p role="status">{state.reason ?? state.name}</p>
      <button type="button" onClick={() => setIsOn(!isOn)}>
        {isOn ? 'Stop updates' : 'Resume updates'}
      </button>
      <table>
        <thead>
          <tr><th>Flight</th><th>From</th><th>Due</th><th>State</th></tr>
        </thead>
        <tbody>
          {flights.map(({ flight, origin, scheduled, state }) => (
            <tr key={flight}>
              <th scope="row">{flight}</th><td>{origin}</td><td>{scheduled}</td><td>{state}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </main>
  );
}
