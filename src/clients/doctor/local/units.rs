//! Limits of systemd's units.

use super::{Found, Includes};

/// The limit that systemd gives to a service that names none (soft; DefaultLimitNOFILE).
pub(super) const FILES_DEFAULT: u64 = 1024;

/// A value of a unit: that of the last file that sets it, drop-ins after the unit.
pub(super) fn setting(system: &dyn Includes, unit: &str, name: &str) -> Option<Found> {
    let mut found = None;
    for folder in [
        "lib/systemd/system",
        "usr/lib/systemd/system",
        "etc/systemd/system",
    ] {
        for pattern in [
            format!("{folder}/{unit}"),
            format!("{folder}/{unit}.d/*.conf"),
        ] {
            for file in system.read(&pattern) {
                for line in file.text.lines() {
                    let Some((own, value)) = line.split_once('=') else {
                        continue;
                    };
                    if own.trim() == name {
                        found = Some(Found {
                            value: value.trim().to_owned(),
                            place: file.path.clone(),
                        });
                    }
                }
            }
        }
    }
    found
}

/// The descriptors that a unit's processes may have; `LimitNOFILE` is `soft` or `soft:hard`.
pub(super) fn descriptors(system: &dyn Includes, unit: &str) -> (u64, String) {
    let limit = setting(system, unit, "LimitNOFILE");
    let number = |found: &Found| match found.value.split(':').next() {
        Some("infinity") => Some(u64::MAX),
        Some(soft) => soft.parse().ok(),
        None => None,
    };
    match limit
        .as_ref()
        .and_then(|found| Some((number(found)?, found.place.clone())))
    {
        Some((number, place)) => (number, format!("LimitNOFILE of {place}")),
        None => (FILES_DEFAULT, format!("the default of systemd for {unit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Memory;
    use super::*;

    #[test]
    fn a_drop_in_overrides_the_unit() {
        let system = Memory(&[
            (
                "lib/systemd/system/a.service",
                "[Service]\nLimitNOFILE=4096\n",
            ),
            (
                "etc/systemd/system/a.service.d/x.conf",
                "[Service]\nLimitNOFILE=65536:524288\n",
            ),
        ]);
        assert_eq!(descriptors(&system, "a.service").0, 65_536);
        assert_eq!(descriptors(&system, "b.service").0, FILES_DEFAULT);
    }
}
