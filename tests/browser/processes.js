/** The machine's processes, by what they run. */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/**
 * The ids of the running processes that `isWanted`; those of other users are not seen.
 *
 * @param {(process: {pid: number, executable: string}) => boolean} isWanted
 */
export const processes = (isWanted) =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return isWanted({ pid, executable: readlinkSync(`/proc/${pid}/exe`) });
      } catch {
        return false;
      }
    });

/**
 * @param {number} pid
 * @param {number} ancestor
 */
export function isDescendant(pid, ancestor) {
  while (pid > 1) {
    if (pid === ancestor) return true;
    try {
      // The name in parentheses may itself hold spaces and parentheses.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    } catch {
      return false;
    }
  }
  return false;
}

/**
 * Without a chance to say goodbye.
 *
 * @param {number[]} pids
 * @returns {number} how many there were
 */
export function killAll(pids) {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself just now.
    }
  }
  return pids.length;
}
