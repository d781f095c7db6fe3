//! View: folds a Keyspace's deltas into states, and the algebras that say how states combine.
//!
//! The stronger the algebra, the cheaper a late event, `at`, `from`/`to`, `group` and a retraction. The host tests
//! what is declared on real data.

use crate::codec::Canonical;
use crate::declare::AlgebraKind;
use crate::event::EventKey;
use crate::keyspace::Keyspace;
use serde::Serialize;

/// The key of the aggregates that a View's states belong to.
pub type KeyFor<V> = <<V as View>::Over as Keyspace>::Key;
/// What a View folds.
pub type DeltaFor<V> = <<V as View>::Over as Keyspace>::Delta;

/// Folds the deltas of one aggregate, in the order of their event keys, into a state. A pure function of its
/// arguments and the configuration.
pub trait View: Send + Sync + Sized + 'static {
    /// Its name, the last segment of its URL: `[a-z0-9][a-z0-9_-]{0,62}`, but not `e`.
    const NAME: &'static str;
    /// Raise it when `fold`, `merge`, `invert` or `render` gives other results than before.
    const REVISION: u32 = 1;
    /// Where its deltas come from.
    type Over: Keyspace;
    /// What it folds into; `Default` is the state of no events.
    type State: Canonical + Default + Serialize;
    /// [`Ordered`], [`Associative`], [`Commutative`] or [`Group`].
    type Algebra: Algebra<Self>;

    /// Adds one event's delta to `state`.
    fn fold(&self, state: &mut Self::State, event: EventKey, delta: DeltaFor<Self>);

    /// What a query answers for the aggregate `key`. For a group of aggregates (`group=N`), the parts of the key behind
    /// the N-th are empty.
    fn render(&self, key: &KeyFor<Self>, state: &Self::State) -> impl Serialize {
        let _ = key;
        state
    }
}

/// Joins the states of two runs of events. Needed by [`Associative`], [`Commutative`] and [`Group`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares an algebra whose states merge, but does not implement `Merge`",
    label = "needs `impl Merge for {Self}`",
    note = "write `impl Merge for {Self}`, or declare `type Algebra = Ordered`, which only folds"
)]
pub trait Merge: View {
    /// Joins `right`, the state of a run of events, to `left`, that of the run before it (or, unless the algebra is
    /// [`Associative`], of any other run). Folding a run in two halves and merging them equals folding it whole; the
    /// default state on either side changes nothing.
    fn merge(&self, left: &mut Self::State, right: Self::State);
}

/// Turns a state into its inverse. Needed by [`Group`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares `type Algebra = Group`, but does not implement `Invert`",
    label = "needs `impl Invert for {Self}`",
    note = "write `impl Invert for {Self}`, or declare `type Algebra = Commutative` if states cannot be taken out again"
)]
pub trait Invert: Merge {
    /// Turns `state` into the state that merges with it to the default one: for sums, minus it.
    fn invert(&self, state: &mut Self::State);
}

/// States only fold, in key order: "the newest", "the first", state machines.
#[derive(Debug, Clone, Copy)]
pub enum Ordered {}
/// The states of neighbouring runs merge, in their order: concatenation, first-and-last.
#[derive(Debug, Clone, Copy)]
pub enum Associative {}
/// States merge in any order: minimum, maximum, union.
#[derive(Debug, Clone, Copy)]
pub enum Commutative {}
/// States merge in any order and can be taken out again: sums and counts. The cheapest of all.
#[derive(Debug, Clone, Copy)]
pub enum Group {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Ordered {}
    impl Sealed for super::Associative {}
    impl Sealed for super::Commutative {}
    impl Sealed for super::Group {}
}

/// How the states of `V` combine: one of the four marker types of this module.
pub trait Algebra<V: View>: sealed::Sealed {
    /// Which one, as it is declared to the host.
    const KIND: AlgebraKind;

    /// Merges if the algebra can; false if not.
    #[doc(hidden)]
    fn merge(view: &V, left: &mut V::State, right: V::State) -> bool {
        let (_, _, _) = (view, left, right);
        false
    }

    /// Inverts if the algebra can; false if not.
    #[doc(hidden)]
    fn invert(view: &V, state: &mut V::State) -> bool {
        let _ = (view, state);
        false
    }
}

impl<V: View> Algebra<V> for Ordered {
    const KIND: AlgebraKind = AlgebraKind::Ordered;
}

impl<V: Merge> Algebra<V> for Associative {
    const KIND: AlgebraKind = AlgebraKind::Associative;
    fn merge(view: &V, left: &mut V::State, right: V::State) -> bool {
        view.merge(left, right);
        true
    }
}

impl<V: Merge> Algebra<V> for Commutative {
    const KIND: AlgebraKind = AlgebraKind::Commutative;
    fn merge(view: &V, left: &mut V::State, right: V::State) -> bool {
        view.merge(left, right);
        true
    }
}

impl<V: Invert> Algebra<V> for Group {
    const KIND: AlgebraKind = AlgebraKind::Group;
    fn merge(view: &V, left: &mut V::State, right: V::State) -> bool {
        view.merge(left, right);
        true
    }
    fn invert(view: &V, state: &mut V::State) -> bool {
        view.invert(state);
        true
    }
}
