//! What is made of files, and made again when they change; what cannot be used changes nothing.

use std::sync::Arc;

use crate::{Files, Material, Stamp, TlsError};

/// The last good value that the files gave.
#[derive(Debug)]
pub struct Kept<T> {
    files: Files,
    stamp: Stamp,
    value: Arc<T>,
    make: fn(&Material) -> Result<T, TlsError>,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Refresh {
    /// They are those that were looked at last.
    Same,
    /// They changed, and their value is the new one.
    New,
    /// They changed and cannot be used: the value is the old one.
    Bad(TlsError),
}

impl<T> Kept<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: Files, make: fn(&Material) -> Result<T, TlsError>) -> Result<Self, TlsError> {
        // Before they are read: a change in between is found at the next look.
        let stamp = files.stamp();
        let value = Arc::new(make(&files.read()?)?);
        Ok(Self { files, stamp, value, make })
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Arc<T> {
        Arc::clone(&self.value)
    }

    /// Looks whether the files changed. Each change is tried once.
    pub fn refresh(&mut self) -> Refresh {
        if self.files.stamp() == self.stamp { Refresh::Same } else { self.reload() }
    }

    /// Reads the files, changed or not.
    pub fn reload(&mut self) -> Refresh {
        self.stamp = self.files.stamp();
        match self.files.read().and_then(|material| (self.make)(&material)) {
            Ok(value) => {
                self.value = Arc::new(value);
                Refresh::New
            }
            Err(error) => Refresh::Bad(error),
        }
    }
}
