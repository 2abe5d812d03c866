//! The connections of an engine that wait for new entries, and the readers that are told of them.

use std::time::Instant;

use super::super::link::READ_BYTES;
use super::super::waiting::{Ahead, Said, Waiting};
use super::Engine;
use crate::source::redis::{Role, StreamId, command, slot_of};

/// So many keys have a waiting connection each, which is also asked what follows.
const LINES_ALONE: usize = 4;

/// The maximum number of connections that wait. The readers of further keys ask every second only.
const LINES_MAX: usize = 1000;

impl Engine {
    /// Tells the reader of an entry after this id, with the answer to `commands` if the
    /// connection has no other key.
    pub(in crate::store) fn watch(&mut self, slot: usize, after: StreamId, ahead: Ahead) {
        let Some(own) = self.slots.get_mut(slot) else {
            return;
        };
        own.has_signal = false;
        own.ahead_answer = None;
        own.ahead.clone_from(&ahead.commands);
        let key = own.key.clone();
        let line = match self.keys.get_mut(&key) {
            Some((line, readers)) => {
                if !readers.contains(&slot) {
                    readers.push(slot);
                }
                *line
            }
            None => {
                let Some(line) = self.line_of_new_key(&key) else {
                    return;
                };
                self.keys.insert(key.clone(), (line, vec![slot]));
                line
            }
        };
        let now = Instant::now();
        if let Some(client) = self.waiting[line].wait(&key, after, ahead) {
            let mut commands = Vec::new();
            command(
                &[b"CLIENT", b"UNBLOCK", client.to_string().as_bytes()],
                &mut commands,
            );
            self.ask(Vec::new(), commands, 1, now);
        }
        self.block(line, now);
    }

    /// A few keys have a connection each. Further keys share them, as long as there is room; in a
    /// cluster, those of one slot, since XREAD accepts no others together. `None` if there are too
    /// many connections.
    fn line_of_new_key(&mut self, key: &[u8]) -> Option<usize> {
        let slot = (self.address.role == Role::Node).then(|| slot_of(key));
        let lines = self.waiting.iter().enumerate();
        let usable = lines.filter(|(_, line)| line.keys.is_empty() || line.slot == slot);
        let least = usable.min_by_key(|(_, line)| line.keys.len());
        let line = match least {
            Some((index, line)) if line.keys.is_empty() => index,
            Some((index, line))
                if self.waiting.len() >= LINES_ALONE && line.keys.len() < Waiting::KEYS_MAX =>
            {
                index
            }
            _ if self.waiting.len() >= LINES_MAX => return None,
            _ => {
                self.waiting.push(Waiting::default());
                self.waiting.len() - 1
            }
        };
        self.waiting[line].slot = slot;
        Some(line)
    }

    pub(in crate::store) fn take_signal(&mut self, slot: usize) -> bool {
        let slot = self.slots.get_mut(slot);
        slot.is_none_or(|slot| std::mem::take(&mut slot.has_signal))
    }

    /// The answer that came with the signal.
    pub(in crate::store) fn take_ahead(&mut self, slot: usize) -> Option<Vec<u8>> {
        self.slots.get_mut(slot)?.ahead_answer.take()
    }

    /// Lets a connection wait, if it should.
    pub(super) fn block(&mut self, line: usize, now: Instant) {
        if !self.waiting[line].is_due(now) || self.down_until.is_some_and(|until| now < until) {
            return;
        }
        let opened = match self.waiting[line].link.take() {
            Some(link) => Ok(link),
            None => self.open(line as u64 + 1),
        };
        let sent = opened.and_then(|mut link| {
            self.waiting[line].block(&mut link, now);
            link.flush()?;
            Ok(link)
        });
        match sent {
            Ok(link) => self.waiting[line].link = Some(link),
            Err(_) => self.lose_waiting(line),
        }
    }

    /// A waiting connection is lost: its readers ask, which shows whether the engine is reachable.
    pub(super) fn lose_waiting(&mut self, line: usize) {
        for key in self.waiting[line].lose() {
            self.signal(&key);
        }
    }

    fn signal(&mut self, key: &[u8]) {
        let Some((_, readers)) = self.keys.get(key) else {
            return;
        };
        for reader in readers {
            if let Some(slot) = self.slots.get_mut(*reader) {
                slot.has_signal = true;
                self.told.push(slot.owner);
            }
        }
    }

    /// The same, with the answer to these commands, for those who would ask the same.
    fn signal_with(&mut self, key: &[u8], commands: &[u8], answer: &[u8]) {
        self.signal(key);
        let Some((_, readers)) = self.keys.get(key) else {
            return;
        };
        for reader in readers {
            let slot = self.slots.get_mut(*reader);
            if let Some(slot) = slot.filter(|slot| slot.ahead == commands) {
                slot.ahead_answer = Some(answer.to_vec());
            }
        }
    }

    pub(super) fn read_waiting(&mut self, line: usize, now: Instant) {
        // A link reports its end after the replies before it.
        loop {
            let Some(waiting) = self.waiting.get_mut(line) else {
                return;
            };
            let Some(link) = &mut waiting.link else {
                return;
            };
            self.scratch.resize(READ_BYTES, 0);
            match link.flush().and_then(|()| link.receive(&mut self.scratch)) {
                Ok(false) => break,
                Ok(true) => {}
                Err(_) => return self.lose_waiting(line),
            }
            loop {
                match self.waiting[line].next(now) {
                    Ok(Said::Nothing) => {}
                    Ok(Said::NotYet) => break,
                    Ok(Said::Entries(keys) | Said::Refused(keys)) => {
                        for key in keys {
                            self.signal(&key);
                        }
                    }
                    Ok(Said::Answer(key, commands, answer)) => {
                        self.signal_with(&key, &commands, &answer);
                    }
                    Err(_) => return self.lose_waiting(line),
                }
            }
        }
        self.block(line, now);
    }
}
