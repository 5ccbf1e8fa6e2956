//! The tenants of a first day: one for each of Slurm's accounts.

use std::collections::BTreeSet;
use std::fmt::Write;

use tenantry_model::AccountName;

/// The longest name of a tenant.
const LONGEST: usize = 31;

/// A file of tenants.d with a tenant for each account, without limits; `None` where there is no account but root's.
///
/// Names are the accounts', with `-` for what no tenant's name may hold.
pub fn file(accounts: &[String]) -> Option<String> {
    let mut taken = BTreeSet::new();
    let mut text = String::from(
        "# Written by `tenantry quickstart`: a tenant for each of Slurm's accounts, without limits. Every key: docs/tenants.md.\n",
    );
    // What is no account's name to us no tenant can claim; `tenantry doctor` says which.
    let valid = |name: &&String| *name != "root" && name.parse::<AccountName>().is_ok();
    let accounts: BTreeSet<_> = accounts.iter().filter(valid).collect();
    for account in accounts {
        let name = free(&name(account), &taken);
        // A string of JSON's is one of TOML's, too.
        let quoted = serde_json::Value::from(account.as_str());
        // A String takes whatever is written to it.
        let _ = write!(text, "\n[tenants.{name}]\naccounts = [{quoted}]\n");
        taken.insert(name);
    }
    (!taken.is_empty()).then_some(text)
}

/// What the file names, for a person.
pub fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("[tenants.")?.strip_suffix(']')).collect()
}

fn name(account: &str) -> String {
    let letter = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = account.to_lowercase().chars().map(letter).collect();
    let name: String = name.trim_start_matches('-').chars().take(LONGEST).collect();
    if name.is_empty() { "account".to_owned() } else { name }
}

/// The name, or the first with a number behind it that no other account has.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| {
        let end = format!("-{number}");
        let start: String = name.chars().take(LONGEST.saturating_sub(end.len())).collect();
        start + &end
    });
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use tenantry_model::tenants::Tenants;

    fn of(accounts: &[&str]) -> Option<String> {
        file(&accounts.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_account_has_a_tenant_and_root_has_none() {
        let text = of(&["root", "globex", "acme_physics", "acme.physics", "acme"]).unwrap();
        assert_eq!(names(&text), ["acme", "acme-physics", "acme-physics-2", "globex"]);
        let tenants = Tenants::parse(Path::new("x.toml"), &text).unwrap();
        for account in ["globex", "acme_physics", "acme.physics", "acme"] {
            assert!(tenants.claimant(&account.parse().unwrap()).is_ok(), "{account}");
        }
        assert_eq!(of(&["root"]), None);
        assert_eq!(of(&[]), None);
    }

    proptest! {
        #[test]
        fn whatever_slurm_calls_its_accounts_the_file_is_good(
            accounts in prop::collection::vec("\\PC{0,40}|[a-z_.*\"\\\\-]{1,50}", 0..12),
        ) {
            if let Some(text) = file(&accounts) {
                prop_assert!(Tenants::parse(Path::new("x.toml"), &text).is_ok(), "{}", text);
            }
        }
    }
}
