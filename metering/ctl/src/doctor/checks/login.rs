//! Logins beside Slurm: a session that is in no job is in no tenant.

use std::path::Path;

use super::Check;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Place, Verdict, ok, unseen, warning};
use crate::doctor::machine::Seen;
use crate::doctor::pam::Rule;

const SSHD: &str = "/etc/pam.d/sshd";
const ADOPT: &str = "pam_slurm_adopt.so";

pub const CHECKS: &[Check] = &[
    Check {
        id: "pam-slurm-adopt",
        subject: "ssh to this node",
        wanted: "pam_slurm_adopt in sshd's account rules, or no sshd",
        why: "a login by ssh that Slurm does not adopt into a job is in no tenant: unlimited, and on no bill",
        fix: "write `-account required pam_slurm_adopt.so action_adopt_failure=deny action_generic_failure=deny` as the last account line of /etc/pam.d/sshd",
        look: adopt,
    },
    Check {
        id: "pam-slurm-adopt-actions",
        subject: "what pam_slurm_adopt does when it fails",
        wanted: "action_adopt_failure=deny, action_generic_failure=deny, action_no_jobs=deny",
        why: "by default a login that cannot be adopted is let in all the same, outside any tenant",
        fix: "write `-account required pam_slurm_adopt.so action_adopt_failure=deny action_generic_failure=deny`",
        look: actions,
    },
    Check {
        id: "pam-systemd",
        subject: "pam_systemd in sshd's session rules",
        wanted: "none, where pam_slurm_adopt is",
        why: "it moves the session into a group of logind's, out of the job that adopted it",
        fix: "take pam_systemd out of sshd's session rules, and mask systemd-logind",
        look: systemd,
    },
];

fn adoptions(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
    rules.iter().filter(|rule| rule.kind == "account" && rule.module == ADOPT)
}

/// sshd's rules, where there is an sshd that asks PAM.
fn rules(facts: &Facts) -> Option<&Vec<Rule>> {
    facts.login.pam.is().filter(|_| facts.login.has_sshd && uses_pam(facts))
}

/// sshd takes the first value of a key; without one it does not ask PAM.
fn uses_pam(facts: &Facts) -> bool {
    let Seen::Is(text) = &facts.login.sshd_config else { return true };
    let value = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|key| key.eq_ignore_ascii_case("UsePAM")).and(words.next())
    });
    // Distributions set it in a file that sshd_config includes: then it is not for us to say no.
    value.is_none_or(|value| !value.eq_ignore_ascii_case("no"))
}

fn adopt(facts: &Facts) -> Vec<Verdict> {
    let at = Place::file(Path::new(SSHD));
    if !facts.login.has_sshd {
        return vec![ok("there is no sshd")];
    }
    if !uses_pam(facts) {
        let fix = "write UsePAM yes in /etc/ssh/sshd_config, and pam_slurm_adopt in /etc/pam.d/sshd";
        return vec![
            warning("sshd does not ask PAM").fix(fix).at(Place::file(Path::new("/etc/ssh/sshd_config"))),
        ];
    }
    let mut verdicts = vec![match &facts.login.pam {
        Seen::Is(rules) => match adoptions(rules).next() {
            Some(rule) if rule.control == "optional" => {
                warning("pam_slurm_adopt is optional: what it says is ignored").at(rule.place.clone())
            }
            Some(rule) => ok("adopted by pam_slurm_adopt").at(rule.place.clone()),
            None => warning("who may log in runs outside any tenant").at(at),
        },
        Seen::Absent => warning("who may log in runs outside any tenant").at(at),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }];
    // Whether sshd asks PAM at all stands there.
    if let Seen::Unseen(reason) = &facts.login.sshd_config {
        verdicts.push(unseen(facts.uid, reason));
    }
    verdicts
}

fn actions(facts: &Facts) -> Vec<Verdict> {
    // pam_slurm_adopt's own defaults.
    const ACTIONS: [(&str, &str); 3] =
        [("action_adopt_failure", "allow"), ("action_generic_failure", "ignore"), ("action_no_jobs", "deny")];
    let Some(rules) = rules(facts) else { return Vec::new() };
    let judged = adoptions(rules).map(|rule| {
        let value = |key: &str, default: &str| {
            let set = rule.args.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='));
            set.unwrap_or(default).to_owned()
        };
        let open: Vec<_> = ACTIONS
            .iter()
            .map(|(key, default)| (key, value(key, default)))
            .filter(|(_, value)| value != "deny")
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if open.is_empty() { ok("it denies") } else { warning(open.join(" ")) }.at(rule.place.clone())
    });
    judged.collect()
}

fn systemd(facts: &Facts) -> Vec<Verdict> {
    let Some(rules) = rules(facts) else { return Vec::new() };
    if adoptions(rules).next().is_none() {
        return Vec::new();
    }
    let moved = rules.iter().find(|rule| rule.kind == "session" && rule.module == "pam_systemd.so");
    vec![match moved {
        Some(rule) => warning("there, beside pam_slurm_adopt").at(rule.place.clone()),
        None => ok("none"),
    }]
}
