//! Rows as people and programs read them.
//!
//! The table has a block a scenario: noises or traffic down, policies across. A cell is `alarms/rollbacks` in per
//! cent of healthy watches, and of bad ones `found median` in per cent and minutes; `-` where the policy does not
//! judge the signal or cannot roll back, `refused` where it says itself that it cannot judge it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::score::Row;

/// One JSON object a line.
///
/// # Errors
/// Those of the writer.
pub fn json(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, row)?;
        writeln!(out)?;
    }
    Ok(())
}

/// The blocks, then what stands below a table: who the policies are, and how to read the cells.
///
/// # Errors
/// Those of the writer.
pub fn text(rows: &[Row], notes: &[(&str, &str)], out: &mut dyn Write) -> io::Result<()> {
    let block_of = |row: &Row| (row.heading.world, row.heading.scenario);
    for block in in_order(rows.iter().map(block_of)) {
        let rows: Vec<&Row> = rows.iter().filter(|row| block_of(row) == block).collect();
        write_block(&format!("{}: {}", block.0, block.1), &rows, out)?;
    }
    writeln!(out, "How to read it\n")?;
    writeln!(out, "  healthy: share of the watches with an alarm / with a rollback, in %.")?;
    writeln!(
        out,
        "  others:  share of the watches in which the fault was found, in %, and the minutes from its onset"
    )?;
    writeln!(out, "           within which half of all watches found it.")?;
    writeln!(out, "  *        with this traffic the counts cannot show the fault in the time that stands beside the")?;
    writeln!(
        out,
        "           scenario: the chance that the ratio rule finds it in time is below one half. It is worked"
    )?;
    writeln!(out, "           out from the limit (10 %), the share of errors, and the requests a minute.")?;
    writeln!(out, "\nPolicies\n")?;
    for (name, note) in notes {
        writeln!(out, "  {name}: {note}.")?;
    }
    Ok(())
}

fn write_block(title: &str, rows: &[&Row], out: &mut dyn Write) -> io::Result<()> {
    let policies = in_order(rows.iter().map(|row| row.heading.policy));
    let lines = in_order(rows.iter().map(|row| line_of(row)));
    let cells: BTreeMap<(String, &str), &Row> =
        rows.iter().map(|row| ((line_of(row), row.heading.policy), *row)).collect();
    let within = rows.iter().find_map(|row| row.within_minutes);
    let watches = rows.first().map_or(0, |row| row.watches);
    let time = within.map(|within| format!(", to be found in {within} min")).unwrap_or_default();
    writeln!(out, "{title} ({watches} watches a cell{time})\n")?;
    let first = lines.iter().map(String::len).max().unwrap_or(0);
    write!(out, "  {:first$}", "")?;
    for policy in &policies {
        write!(out, "  {policy:>WIDTH$}")?;
    }
    writeln!(out)?;
    for line in lines {
        write!(out, "  {line:first$}")?;
        for policy in &policies {
            let cell = cells.get(&(line.clone(), *policy)).map_or("-".into(), |row| cell(row));
            write!(out, "  {cell:>width$}", width = policy.len().max(WIDTH))?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}

/// Least width of a column.
const WIDTH: usize = 11;

fn line_of(row: &Row) -> String {
    match row.heading.traffic_per_minute {
        Some(rate) => format!("{} {rate}/min", row.heading.noise),
        None => row.heading.noise.into(),
    }
}

fn cell(row: &Row) -> String {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    if row.refused_share == 1.0 {
        return "refused".into();
    }
    let Some(found) = row.found_share else {
        return format!("{}/{}", percent(row.alarm_share), row.rollback_share.map_or("-".into(), percent));
    };
    let mark = if row.detectable == Some(false) { "*" } else { "" };
    let median = row.median_minutes.map_or("-".into(), |minutes| format!("{minutes:.0}"));
    format!("{} {median}{mark}", percent(found))
}

/// Each once, in the order in which they first appear.
fn in_order<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut seen, item| {
        if !seen.contains(&item) {
            seen.push(item);
        }
        seen
    })
}
