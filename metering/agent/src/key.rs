//! The key a node signs its blocks with: 32 random bytes, its own, in a file that only root reads.

use std::fs;
use std::io;
use std::path::Path;

use tenantry_block::NodeKey;
use tenantry_model::durable;

const SEED_BYTES: usize = 32;

/// The node's key; made, and on the disk, where there is none.
///
/// # Errors
/// Where the file cannot be read or made, or is no key.
pub fn load_or_make(file: &Path) -> io::Result<NodeKey> {
    let seed: [u8; SEED_BYTES] = match fs::read(file) {
        Ok(bytes) => bytes.try_into().map_err(|bytes: Vec<u8>| {
            let length = bytes.len();
            let text =
                format!("it has {length} bytes, a key has {SEED_BYTES}: move it away, and a new one is made");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; SEED_BYTES];
            getrandom::fill(&mut seed).map_err(io::Error::other)?;
            durable::write(file, &seed)?;
            seed
        }
        Err(error) => return Err(error),
    };
    Ok(NodeKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.key");
        let made = load_or_make(&file).unwrap();
        assert_eq!(load_or_make(&file).unwrap().public(), made.public());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let other = load_or_make(&dir.path().join("other.key")).unwrap();
        assert_ne!(other.public(), made.public());
    }

    #[test]
    fn what_is_no_key_is_left_alone_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.key");
        fs::write(&file, "short").unwrap();
        assert!(load_or_make(&file).unwrap_err().to_string().contains("5 bytes"));
        assert_eq!(fs::read(&file).unwrap(), b"short");
    }
}
