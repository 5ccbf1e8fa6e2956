//! Panics on demand, to see that none leaves a hook. Only in a build with the feature
//! `fault-injection`; nothing otherwise.

use spank::Hook;

/// Panics in the hook that `/run/tenantry-panic-in` names.
#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "it is what this is for")]
pub fn point(hook: Hook) {
    let named = std::fs::read_to_string("/run/tenantry-panic-in");
    if named.is_ok_and(|name| name.trim_ascii() == hook.name()) {
        panic!("fault injected into {hook}");
    }
}

/// Nothing.
#[cfg(not(feature = "fault-injection"))]
pub fn point(_: Hook) {}
