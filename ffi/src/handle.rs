//! Slurm's handle, and every call that goes through it. What a context may call stands in `context.rs`.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::marker::PhantomData;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::ptr::{self, NonNull};
use std::slice;

use crate::error::{Code, Error};
use crate::host::host;
use crate::sys::{self, Item, SpankHandle};

/// What every hook has: the plugin's arguments, and the version of the Slurm that called.
///
/// It lives as long as the hook's call and stays on its thread.
#[derive(Debug)]
pub struct Spank<'h> {
    raw: NonNull<SpankHandle>,
    argv: &'h [*const c_char],
    call: PhantomData<&'h SpankHandle>,
}

impl<'h> Spank<'h> {
    /// # Safety
    ///
    /// `raw` is Slurm's handle and `argv` points to `count` C strings, all alive for `'h`.
    pub(crate) unsafe fn new(raw: NonNull<SpankHandle>, count: c_int, argv: *const *const c_char) -> Self {
        let argv = match usize::try_from(count) {
            Ok(count) if count > 0 && !argv.is_null() => {
                // SAFETY: not null, and the caller vouches for `count` pointers that live for 'h.
                unsafe { slice::from_raw_parts(argv, count) }
            }
            _ => &[],
        };
        Self { raw, argv, call: PhantomData }
    }

    /// The words after the plugin's path in `plugstack.conf`.
    pub fn args(&self) -> impl Iterator<Item = &'h OsStr> + use<'h> {
        let argv = self.argv;
        argv.iter().filter(|pointer| !pointer.is_null()).map(|pointer| {
            // SAFETY: not null, and `new`'s caller vouches for C strings that live for 'h.
            let text = unsafe { CStr::from_ptr(*pointer) };
            OsStr::from_bytes(text.to_bytes())
        })
    }

    /// The version of the running Slurm, such as `24.11.5`. Its first two numbers are those of
    /// [`SLURM_VERSION`](crate::SLURM_VERSION), or Slurm would not have loaded the plugin.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] without Slurm in the process.
    pub fn slurm_version(&self) -> Result<OsString, Error> {
        self.text(sys::S_SLURM_VERSION)?.ok_or(Error::Value { item: sys::S_SLURM_VERSION.name })
    }

    pub(crate) fn raw(&self) -> *mut SpankHandle {
        self.raw.as_ptr()
    }

    /// An item that Slurm stores as one value of `T`.
    pub(crate) fn item<T>(&self, item: Item<T>, initial: T) -> Result<T, Error> {
        let call = "spank_get_item";
        let function = host().get_item.ok_or(Error::Missing { call })?;
        let mut value = initial;
        // SAFETY: the handle is alive, and `sys::Item` binds the item to the type that Slurm stores for it.
        let rc = unsafe { function(self.raw(), item.id, &raw mut value) };
        match Code::check(rc) {
            Ok(()) => Ok(value),
            Err(code) => Err(Error::Slurm { call, what: item.name.to_owned(), code }),
        }
    }

    pub(crate) fn number<T: Default>(&self, item: Item<T>) -> Result<T, Error> {
        self.item(item, T::default())
    }

    /// A text of Slurm's, copied; `None` where Slurm has none.
    pub(crate) fn text(&self, item: Item<*const c_char>) -> Result<Option<OsString>, Error> {
        let pointer = self.item(item, ptr::null())?;
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: not null; Slurm gives a C string that lives at least for the hook, and it is copied here.
        let text = unsafe { CStr::from_ptr(pointer) };
        Ok(Some(OsString::from_vec(text.to_bytes().to_vec())))
    }

    /// Reads one of Slurm's environments; `None` where the variable is not set.
    pub(crate) fn read_variable(
        &self,
        call: &'static str,
        function: Option<sys::Getenv>,
        name: &OsStr,
    ) -> Result<Option<OsString>, Error> {
        /// Linux itself stops at 128 KiB for one variable; Slurm's list in memory does not.
        const SIZES: [c_int; 4] = [256, 4096, 131_073, 2_097_152];
        let function = function.ok_or(Error::Missing { call })?;
        let c_name = variable(call, name)?;
        let mut buffer = Vec::<u8>::new();
        for size in SIZES {
            buffer.resize(usize::try_from(size).unwrap_or_default(), 0);
            // SAFETY: the handle is alive, the name is a C string, and the buffer has `size` bytes.
            let rc = unsafe { function(self.raw(), c_name.as_ptr(), buffer.as_mut_ptr().cast(), size) };
            match Code::check(rc) {
                Ok(()) => break,
                Err(Code::EnvNoexist) => return Ok(None),
                Err(Code::Nospace) if size < 2_097_152 => {}
                Err(code) => return Err(refused(call, name, code)),
            }
        }
        let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
        buffer.truncate(end);
        Ok(Some(OsString::from_vec(buffer)))
    }

    pub(crate) fn write_variable(
        &self,
        call: &'static str,
        function: Option<sys::Setenv>,
        name: &OsStr,
        value: &OsStr,
    ) -> Result<(), Error> {
        const OVERWRITE: c_int = 1;
        let function = function.ok_or(Error::Missing { call })?;
        let c_name = variable(call, name)?;
        let value = CString::new(value.as_bytes())
            .map_err(|_| Error::Argument { call, why: "the value holds a NUL byte" })?;
        // SAFETY: the handle is alive, and both texts are C strings that live for the call; Slurm copies them.
        let rc = unsafe { function(self.raw(), c_name.as_ptr(), value.as_ptr(), OVERWRITE) };
        Code::check(rc).map_err(|code| refused(call, name, code))
    }

    pub(crate) fn remove_variable(
        &self,
        call: &'static str,
        function: Option<sys::Unsetenv>,
        name: &OsStr,
    ) -> Result<(), Error> {
        let function = function.ok_or(Error::Missing { call })?;
        let c_name = variable(call, name)?;
        // SAFETY: the handle is alive, and the name is a C string that lives for the call.
        let rc = unsafe { function(self.raw(), c_name.as_ptr()) };
        Code::check(rc).map_err(|code| refused(call, name, code))
    }

    pub(crate) fn prepend_argv(&self, words: &[&CStr]) -> Result<(), Error> {
        let call = "spank_prepend_task_argv";
        let function = host().prepend_task_argv.ok_or(Error::Missing { call })?;
        let count =
            c_int::try_from(words.len()).map_err(|_| Error::Argument { call, why: "too many words" })?;
        let mut argv: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        argv.push(ptr::null());
        // SAFETY: the handle is alive; `argv` has `count` C strings and a null behind them; Slurm copies them.
        let rc = unsafe { function(self.raw(), count, argv.as_ptr()) };
        Code::check(rc).map_err(|code| Error::Slurm { call, what: format!("{count} words"), code })
    }
}

fn refused(call: &'static str, name: &OsStr, code: Code) -> Error {
    Error::Slurm { call, what: name.to_string_lossy().into_owned(), code }
}

fn variable(call: &'static str, name: &OsStr) -> Result<CString, Error> {
    let name = name.as_bytes();
    if name.is_empty() || name.contains(&b'=') {
        return Err(Error::Argument { call, why: "a variable's name is not empty and holds no '='" });
    }
    CString::new(name).map_err(|_| Error::Argument { call, why: "the variable's name holds a NUL byte" })
}

#[cfg(test)]
mod tests {
    use super::{Spank, variable};
    use crate::error::Error;
    use crate::sys;
    use std::ffi::{OsStr, c_char};
    use std::ptr::{self, NonNull};

    /// A handle that no call may follow: there is no Slurm in a unit test.
    fn nobody(argv: &[*const c_char]) -> Spank<'_> {
        let count = i32::try_from(argv.len()).unwrap();
        // SAFETY: the handle is never followed, and the slice outlives the result.
        unsafe { Spank::new(NonNull::dangling(), count, argv.as_ptr()) }
    }

    #[test]
    fn without_slurm_in_the_process_a_call_says_what_is_missing() {
        let missing = Err(Error::Missing { call: "spank_get_item" });
        assert_eq!(nobody(&[]).number(sys::S_JOB_ID), missing);
        assert!(nobody(&[]).slurm_version().is_err());
    }

    #[test]
    fn arguments_are_bytes_and_may_be_none() {
        let argv = [c"config=/etc/x".as_ptr(), ptr::null(), c"\xff".as_ptr()];
        let words: Vec<Vec<u8>> = nobody(&argv).args().map(|word| word.as_encoded_bytes().to_vec()).collect();
        assert_eq!(words, [b"config=/etc/x".to_vec(), b"\xff".to_vec()]);
        for (count, pointer) in [(0, argv.as_ptr()), (-1, argv.as_ptr()), (3, ptr::null())] {
            // SAFETY: the handle is never followed; a count below one or a null pointer means no argument.
            let spank = unsafe { Spank::new(NonNull::dangling(), count, pointer) };
            assert_eq!(spank.args().count(), 0);
        }
    }

    #[test]
    fn a_name_that_c_would_read_differently_is_refused() {
        for name in ["", "A=B", "=", "A\0B"] {
            let answer = variable("spank_setenv", OsStr::new(name));
            assert!(
                matches!(answer, Err(Error::Argument { call: "spank_setenv", .. })),
                "{name:?}: {answer:?}"
            );
        }
        assert_eq!(variable("spank_setenv", OsStr::new("HOME")).as_deref(), Ok(c"HOME"));
    }
}
