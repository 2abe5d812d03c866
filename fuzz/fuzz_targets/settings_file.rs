//! Arbitrary bytes as a settings file: it is understood, or one line says what is wrong, and
//! no panic. The first byte says what its sections are for.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use sse_cgi::request::MetaVariables;
use sse_cgi::request::settings::{Sections, SettingsFile};

fuzz_target!(|input: &[u8]| {
    let [kind, bytes @ ..] = input else {
        return;
    };
    let sections = match kind % 2 {
        0 => Sections::Programs,
        _ => Sections::Paths,
    };
    match SettingsFile::parse("/folder/file", bytes, sections) {
        Ok(file) => {
            for section in file.sections() {
                let mut meta = MetaVariables::default();
                file.complete(&mut meta, Some(section));
                for name in &section.names {
                    let found = match sections {
                        Sections::Programs => file.program(name),
                        Sections::Paths => file.path(name).map(|place| place.section),
                    };
                    assert_eq!(found, Some(section));
                }
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("/folder/file:"));
            assert!(!text.contains(char::is_control));
        }
    }
});
