//! What is measured in process: one operation, made ready outside the measurement.
//!
//! The suite `micro` times these subjects, and `bench/gate` counts their instructions and
//! allocations. Each file holds one kind of subject and the floors that it is compared with.

pub mod api_keys;
pub mod audit;
pub mod client;
pub mod crypto;
pub mod jwt;
pub mod layers;
pub mod limits;
pub mod peer;
pub mod policy;
pub mod requests;
pub mod signing;

use std::hint::black_box;

/// One operation that can be repeated.
pub trait Subject {
    /// Makes ready what the next `times` operations use up. Not measured.
    fn prepare(&mut self, times: usize);

    /// Performs each operation that was made ready.
    fn run(&mut self);

    /// How many operations may be made ready at once, so that their inputs stay in the caches.
    fn most_at_once(&self) -> usize;
}

/// An operation that uses nothing up.
pub fn repeat<T, F: FnMut() -> T + 'static>(operation: F) -> Box<dyn Subject> {
    Box::new(Repeat { times: 0, operation })
}

/// An operation that takes an input of its own each time. `make` is not measured; dropping the
/// input is, if the operation does not give it away.
pub fn consume<I: 'static, T, M, F>(make: M, operation: F) -> Box<dyn Subject>
where
    M: FnMut() -> I + 'static,
    F: FnMut(I) -> T + 'static,
{
    Box::new(Consume { ready: Vec::new(), make, operation })
}

struct Repeat<F> {
    times: usize,
    operation: F,
}

impl<T, F: FnMut() -> T> Subject for Repeat<F> {
    fn prepare(&mut self, times: usize) {
        self.times = times;
    }

    fn run(&mut self) {
        for _ in 0..self.times {
            black_box((self.operation)());
        }
    }

    fn most_at_once(&self) -> usize {
        1 << 14
    }
}

struct Consume<I, M, F> {
    ready: Vec<I>,
    make: M,
    operation: F,
}

impl<I, T, M: FnMut() -> I, F: FnMut(I) -> T> Subject for Consume<I, M, F> {
    fn prepare(&mut self, times: usize) {
        self.ready.clear();
        self.ready.reserve(times);
        for _ in 0..times {
            self.ready.push((self.make)());
        }
    }

    fn run(&mut self) {
        for input in self.ready.drain(..) {
            black_box((self.operation)(input));
        }
    }

    fn most_at_once(&self) -> usize {
        512
    }
}

/// Goes round a number of things, so that each is far from the one before, without a division.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: usize,
    stride: usize,
    count: usize,
}

impl Turn {
    fn among(count: usize) -> Self {
        // A prime that divides no number of things that is asked for here, so all have their turn.
        const STRIDE: usize = 7_919;
        Self { at: 0, stride: STRIDE % count.max(1), count }
    }

    /// Begins at another place, below the number of things.
    fn from(self, at: usize) -> Self {
        Self { at, ..self }
    }

    fn next(&mut self) -> usize {
        self.at += self.stride;
        if self.at >= self.count {
            self.at -= self.count;
        }
        self.at
    }
}

/// Waits for what has to be made ready.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime on this thread").block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_turn() {
        for count in [1, 2, 10, 10_000] {
            let turn = Turn::among(count);
            for mut turn in [turn, turn.from(count / 2)] {
                let mut seen: Vec<usize> = (0..count).map(|_| turn.next()).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..count), "{count}");
            }
        }
    }
}
