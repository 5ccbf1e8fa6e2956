//! Link arguments of a plugin; see the `spank` crate.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
