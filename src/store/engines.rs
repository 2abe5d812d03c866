//! EngineSlot: the engines of a process, of whatever kind, if it uses any.
//!
//! A program that has no stream of an engine contains none of their code.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// Engines as an event loop sees them.
pub(crate) trait Pump {
    /// Does what can be done now; calls `told` with the owner of each source to be polled.
    fn pump(&self, told: &mut dyn FnMut(u64));

    /// Their state.
    fn figures(&self) -> Vec<EngineFigure>;
}

/// The state of an engine.
pub(crate) struct EngineFigure {
    /// Its address, without a password.
    pub(crate) name: String,
    /// Whether the last attempt to reach it succeeded.
    pub(crate) is_up: bool,
}

/// The place of the engines.
#[derive(Default)]
pub(crate) struct EngineSlot {
    owner: Cell<u64>,
    engines: OnceCell<(Rc<dyn Any>, Rc<dyn Pump>)>,
}

impl EngineSlot {
    /// Sets the number with which changes are reported to an event loop. It calls
    /// [`Self::pump`] then.
    pub(crate) fn set_owner(&self, owner: u64) {
        self.owner.set(owner);
    }

    pub(super) fn owner(&self) -> u64 {
        self.owner.get()
    }

    pub(super) fn get<T: 'static>(&self) -> Option<Rc<T>> {
        let (engines, _) = self.engines.get()?;
        Rc::clone(engines).downcast().ok()
    }

    pub(super) fn set<T: Pump + 'static>(&self, engines: Rc<T>) {
        let any: Rc<dyn Any> = Rc::<T>::clone(&engines);
        let _ = self.engines.set((any, engines));
    }

    /// See [`Pump::pump`].
    pub(crate) fn pump(&self, told: &mut dyn FnMut(u64)) {
        if let Some((_, engines)) = self.engines.get() {
            engines.pump(told);
        }
    }

    /// See [`Pump::figures`].
    pub(crate) fn figures(&self) -> Vec<EngineFigure> {
        let engines = self.engines.get();
        engines.map_or_else(Vec::new, |(_, engines)| engines.figures())
    }
}
