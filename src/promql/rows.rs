//! The values of label sets over several times.

use super::vector::{Table, Tags, Vector, hash_all};
use crate::base::{Labels, Timestamp};

/// The values of one label set.
#[derive(Debug)]
pub(super) struct SetRow<'a> {
    pub(super) labels: Tags<'a>,
    pub(super) drop_name: bool,
    pub(super) newest: Timestamp,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

/// Label sets with their values, filled time by time.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    pub(super) rows: Vec<SetRow<'a>>,
    table: Table,
}

impl<'a> Rows<'a> {
    /// Takes the values of one time, which is later than all before.
    ///
    /// # Errors
    /// Two elements with the same labels.
    pub(super) fn add(&mut self, at: i64, vector: Vector<'a>) -> Result<(), String> {
        // Mostly the label sets come in the order in which they came before.
        let mut expected = 0;
        for element in vector.elements {
            let place = self.place(&element.labels, expected);
            let place = place.unwrap_or_else(|| {
                self.rows.push(SetRow {
                    labels: element.labels.clone(),
                    drop_name: element.drop_name,
                    newest: element.newest,
                    times: Vec::new(),
                    values: Vec::new(),
                });
                self.table.insert(hash_all(&element.labels))
            });
            expected = place + 1;
            let row = &mut self.rows[place];
            if row.times.last() == Some(&at) {
                return Err(format!("the result holds the labels {} more than once", *element.labels));
            }
            row.times.push(at);
            row.values.push(element.value);
            row.newest = row.newest.max(element.newest);
            row.drop_name |= element.drop_name;
        }
        Ok(())
    }

    fn place(&self, labels: &Tags<'a>, expected: usize) -> Option<usize> {
        if self.rows.get(expected).is_some_and(|row| same(&row.labels, labels)) {
            return Some(expected);
        }
        self.table.find(hash_all(labels), |place| same(&self.rows[place].labels, labels))
    }

    /// Takes all samples of one series.
    pub(super) fn put(&mut self, labels: Tags<'a>, times: &[i64], values: &[f64]) {
        let newest = Timestamp(times.last().copied().unwrap_or(i64::MIN));
        let (times, values) = (times.to_vec(), values.to_vec());
        self.rows.push(SetRow { labels, drop_name: false, newest, times, values });
    }
}

fn same(a: &Labels, b: &Labels) -> bool {
    std::ptr::eq(a, b) || a == b
}
