//! A column that grows at its end and is forgotten at its front, and can be shared as it is.

use std::ops::Range;
use std::sync::Arc;

/// Values in the order they came. A [`Piece`] of it stays as it is while the column grows on.
#[derive(Clone, Debug)]
pub(super) struct Column<T> {
    all: Arc<Vec<T>>,
    /// Values before this index are forgotten; they are moved away in bulk.
    start: usize,
}

/// A part of a column that no longer changes.
#[derive(Clone, Debug)]
pub(super) struct Piece<T> {
    all: Arc<Vec<T>>,
    range: Range<usize>,
}

impl<T: Clone> Column<T> {
    pub(super) fn new() -> Column<T> {
        Column { all: Arc::new(Vec::new()), start: 0 }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.all[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.start
    }

    /// Copies all first if a piece of it is held somewhere, so the piece stays as it is.
    pub(super) fn push(&mut self, value: T) {
        let all = Arc::make_mut(&mut self.all);
        if all.len() == all.capacity() {
            // Doubling would leave a third of all memory unused: a column soon has its full length and stays there.
            all.reserve_exact((all.len() / 8).max(8));
        }
        all.push(value);
    }

    /// Changes all values; see [`Column::push`] for what that costs.
    pub(super) fn for_each(&mut self, change: impl Fn(&mut T)) {
        Arc::make_mut(&mut self.all).iter_mut().for_each(change);
    }

    /// Changes the newest value, if there is one.
    pub(super) fn replace_last(&mut self, value: T) {
        if self.len() > 0
            && let Some(last) = Arc::make_mut(&mut self.all).last_mut()
        {
            *last = value;
        }
    }

    /// Forgets the `n` oldest.
    pub(super) fn forget(&mut self, n: usize) {
        self.start = (self.start + n).min(self.all.len());
        if self.start == self.all.len() {
            *self = Column::new();
        } else if self.start >= 32 && self.start * 4 >= self.all.len() {
            match Arc::get_mut(&mut self.all) {
                Some(all) => drop(all.drain(..self.start)),
                // A piece of it is held somewhere: only what stays is copied.
                None => self.all = Arc::new(self.all[self.start..].to_vec()),
            }
            self.start = 0;
        }
    }

    pub(super) fn piece(&self, range: Range<usize>) -> Piece<T> {
        Piece { all: self.all.clone(), range: self.start + range.start..self.start + range.end }
    }
}

impl<T> Piece<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        &self.all[self.range.clone()]
    }
}

impl<T> From<Arc<Vec<T>>> for Piece<T> {
    fn from(all: Arc<Vec<T>>) -> Piece<T> {
        Piece { range: 0..all.len(), all }
    }
}

impl<T: Clone> From<&Piece<T>> for Column<T> {
    fn from(piece: &Piece<T>) -> Column<T> {
        if piece.range.end == piece.all.len() {
            Column { all: piece.all.clone(), start: piece.range.start }
        } else {
            Column { all: Arc::new(piece.as_slice().to_vec()), start: 0 }
        }
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(all: Vec<T>) -> Column<T> {
        Column { all: Arc::new(all), start: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_stays_as_it_is_while_the_column_goes_on() {
        let mut column = Column::new();
        (0..100).for_each(|i| column.push(i));
        let piece = column.piece(10..100);
        column.push(100);
        column.forget(50);
        column.replace_last(-1);
        column.for_each(|value| *value += 1000);
        assert_eq!(piece.as_slice(), (10..100).collect::<Vec<_>>());
        assert_eq!((column.len(), column.as_slice()[0], column.as_slice()[50]), (51, 1050, 999));
        let mut copy = Column::from(&piece);
        copy.push(7);
        assert_eq!((copy.len(), piece.as_slice().len()), (91, 90));
        column.forget(1000);
        assert_eq!(column.len(), 0);
        column.replace_last(5);
        assert_eq!(column.as_slice(), [0; 0]);
    }
}
