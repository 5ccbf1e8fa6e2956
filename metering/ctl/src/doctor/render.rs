//! Findings as a text for a person, and as JSON.

use anstyle::{AnsiColor, Style};

use super::finding::{Finding, Severity, exit_code};

/// Columns of a line; what cannot be broken is longer.
const WIDTH: usize = 100;
/// Where the second column begins.
const INDENT: usize = 9;
/// What the name of a row takes.
const NAME: usize = 7;

/// A list of findings, the least first.
pub fn json(findings: &[Finding]) -> Result<String, std::io::Error> {
    Ok(format!("{}\n", serde_json::to_string_pretty(findings)?))
}

/// One line for what is good, a paragraph for what is not, and a last line that counts them. With
/// colours, which the stream takes out where nobody sees them.
pub fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for (at, finding) in findings.iter().enumerate() {
        lines.push(headline(finding));
        if finding.severity == Severity::Ok {
            continue;
        }
        if let Some(file) = &finding.file {
            let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
            lines.push(row("at", &format!("{}{line}", file.display())));
        }
        // Of several findings of a check the last says what is the same for all.
        let next = findings.get(at.saturating_add(1));
        if next.is_some_and(|next| same_advice(next, finding)) {
            continue;
        }
        lines.push(row("wanted", finding.wanted));
        lines.push(row("why", finding.why));
        lines.extend(finding.fix.as_ref().map(|fix| row("fix", fix)));
    }
    lines.push(summary(findings));
    lines.join("\n")
}

fn headline(finding: &Finding) -> String {
    let Finding { id, severity, found, .. } = finding;
    let style = style(*severity);
    let found = wrapped(found, id.len().saturating_add(2));
    format!("{style}{severity:INDENT$}{style:#}{id}: {found}")
}

fn same_advice(one: &Finding, other: &Finding) -> bool {
    (one.id, one.severity, &one.fix) == (other.id, other.severity, &other.fix)
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Ok => AnsiColor::Green.on_default(),
        Severity::Note => AnsiColor::Cyan.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Error => AnsiColor::Red.on_default().bold(),
    }
}

fn row(name: &str, value: &str) -> String {
    format!("{:INDENT$}{name:NAME$}{}", "", wrapped(value, NAME))
}

/// Breaks a text at spaces; its first line begins `taken` columns behind the indent.
fn wrapped(value: &str, taken: usize) -> String {
    // Found texts may hold what a file says: no control character of it may reach a terminal.
    let value: String = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let indent = INDENT.saturating_add(NAME);
    let mut column = INDENT.saturating_add(taken);
    let mut lines: Vec<String> = Vec::new();
    for word in value.split(' ') {
        let width = word.chars().count().saturating_add(1);
        match lines.last_mut() {
            Some(line) if column.saturating_add(width) <= WIDTH => {
                line.push(' ');
                line.push_str(word);
                column = column.saturating_add(width);
            }
            Some(_) => {
                lines.push(format!("{:indent$}{word}", ""));
                column = indent.saturating_add(width);
            }
            None => {
                lines.push(word.to_owned());
                column = column.saturating_add(width);
            }
        }
    }
    lines.join("\n")
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [errors, warnings, notes, good] =
        [Severity::Error, Severity::Warning, Severity::Note, Severity::Ok].map(count);
    let verdict = match exit_code(findings) {
        0 => "nothing weakens isolation or billing",
        1 => "something weakens isolation or billing, or was not seen",
        _ => "something breaks isolation or billing",
    };
    format!("{verdict} (error {errors}, warning {warnings}, note {notes}, ok {good})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding {
            id: "proctrack-type",
            severity,
            subject: "ProctrackType",
            found: "ProctrackType=\u{1b}[31mx".into(),
            wanted: "w",
            why: "y",
            fix: (severity != Severity::Ok).then(|| "word ".repeat(40).trim().to_owned()),
            file: Some("/etc/slurm/slurm.conf".into()),
            line: Some(3),
        }
    }

    #[test]
    fn lines_are_short_and_no_file_talks_to_the_terminal() {
        let text = text(&[finding(Severity::Ok), finding(Severity::Error)]);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
        assert!(plain.contains("ProctrackType=\u{fffd}[31mx"), "{plain}");
        assert!(plain.contains("\n         at     /etc/slurm/slurm.conf:3\n"), "{plain}");
        assert!(plain.ends_with("(error 1, warning 0, note 0, ok 1)\n"), "{plain}");
    }

    #[test]
    fn json_has_every_field() {
        let value: serde_json::Value =
            serde_json::from_str(&json(&[finding(Severity::Ok)]).unwrap()).unwrap();
        let fields: Vec<_> = value[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields.len(), 9);
        for field in ["id", "severity", "subject", "found", "wanted", "why", "fix", "file", "line"] {
            assert!(fields.contains(&field), "{field}");
        }
        assert_eq!(value[0]["severity"], "ok");
        assert!(value[0]["fix"].is_null());
    }

    #[test]
    fn the_exit_code_is_the_worst_findings() {
        let code = |severities: &[Severity]| {
            exit_code(&severities.iter().map(|severity| finding(*severity)).collect::<Vec<_>>())
        };
        assert_eq!(code(&[Severity::Ok, Severity::Note]), 0);
        assert_eq!(code(&[Severity::Warning, Severity::Ok]), 1);
        assert_eq!(code(&[Severity::Error, Severity::Warning]), 2);
    }
}
