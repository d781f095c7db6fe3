//! What is measured: each figure against folding all deltas again, in the same run, by the same plugin.

use super::made_up::MadeUp;
use super::plugin;
use laterbase::core::event::EventKey;
use laterbase::plugin::{Options, Registry, RootCatalog, Services, delta_ref};
use laterbase::store::Store;
use laterbase::store::environment::Rows as _;
use laterbase::views::{Bounds, Computes, Known, ViewError, Views};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many times each read is measured; the median counts.
const TIMES: usize = 101;

/// One Root of made-up events with its views.
struct Rooted {
    store: Arc<MadeUp>,
    plugins: Arc<dyn Computes>,
    catalog: Arc<RootCatalog>,
    views: Views,
    folder: tempfile::TempDir,
    before: u64,
}

impl Rooted {
    fn new(events: u64, aggregates: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Registry::new(Options::new(folder.path().join("stage")));
        registry.add_static(plugin::plugin()).expect("it loads");
        let catalog = Arc::clone(registry.catalog().root("figures").expect("declared"));
        let plugins: Arc<dyn Computes> = Arc::clone(&catalog) as _;
        let store = Arc::new(MadeUp::new(events, aggregates));
        let views = Views::open(folder.path(), Arc::clone(&store) as Arc<dyn Store>);
        views.adopt(&plugins);
        Self { store, plugins, catalog, views, folder, before: events }
    }

    fn ask(&self, view: &str, bounds: &Bounds) {
        let key = ["a000000".to_owned()];
        let answer = self.views.one(&self.plugins, view, &key, bounds).expect("an answer");
        black_box(answer);
    }

    fn now(&self, view: &str) {
        self.ask(view, &Bounds::default());
    }

    /// How long `work` takes: the median of many times.
    fn median(mut work: impl FnMut(usize)) -> Duration {
        let mut times: Vec<Duration> = (0..TIMES)
            .map(|time| {
                let begun = Instant::now();
                work(time);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        *times.get(TIMES / 2).expect("as many as were measured")
    }

    /// Asks until the arrivals are followed: a query does not wait for very many.
    fn follow(&self) -> Duration {
        let begun = Instant::now();
        let ask = || self.views.one(&self.plugins, "sum", &["a000000".to_owned()], &Bounds::default());
        while let Err(ViewError::Building { .. }) = ask() {
            std::thread::yield_now();
        }
        begun.elapsed()
    }

    /// Fills the index and what the views keep.
    fn fill(&self) -> Duration {
        let begun = Instant::now();
        let followed = self.follow();
        self.views.wake(true);
        self.views.settle().expect("it settles");
        println!("  followed in {followed:.2?}, in the index after {:.2?}", begun.elapsed());
        for view in ["profile", "last", "rolling", "sum"] {
            let begun = Instant::now();
            self.now(view);
            println!("  first read of {view}: {:.2?}", begun.elapsed());
        }
        self.views.settle().expect("it settles");
        begun.elapsed()
    }

    /// Folding all deltas in memory, in order, by the plugin's own fold: what the engine saves.
    fn refold(&self, view: &str) -> Duration {
        let mut deltas: Vec<(EventKey, [u8; 4])> = (1..=self.before)
            .map(|number| {
                let step: Parsed<'_> = serde_json::from_slice(self.store.data(number)).expect("JSON");
                (self.store.key(number), step.n.to_be_bytes())
            })
            .collect();
        deltas.sort_unstable();
        let view = self.catalog.view(view).expect("declared");
        let begun = Instant::now();
        let mut state: Option<Vec<u8>> = None;
        for run in deltas.chunks(1024) {
            let run: Vec<_> = run.iter().map(|(key, delta)| delta_ref(*key, delta)).collect();
            let folded = view.instance.fold(&Services::default(), view.index, state.as_deref(), &run);
            state = Some(folded.expect("it folds"));
        }
        black_box(state);
        begun.elapsed()
    }

    /// Reading all events again, as one who keeps no index does: each is parsed and folded, in order.
    fn replay(&self, view: &str) -> Duration {
        let mut keys: Vec<(EventKey, u64)> = (1..=self.before).map(|n| (self.store.key(n), n)).collect();
        keys.sort_unstable();
        let found = self.catalog.view(view).expect("declared");
        let begun = Instant::now();
        let mut state: Option<Vec<u8>> = None;
        for run in keys.chunks(1024) {
            let parsed: Vec<(EventKey, [u8; 4])> = run
                .iter()
                .map(|(key, number)| {
                    let step: Parsed<'_> = serde_json::from_slice(self.store.data(*number)).expect("JSON");
                    black_box(step.a);
                    (*key, step.n.to_be_bytes())
                })
                .collect();
            let run: Vec<_> = parsed.iter().map(|(key, delta)| delta_ref(*key, delta)).collect();
            let folded = found.instance.fold(&Services::default(), found.index, state.as_deref(), &run);
            state = Some(folded.expect("it folds"));
        }
        black_box(state);
        begun.elapsed()
    }

    /// What lies on disk: of the index for each pair of event and aggregate, and of each view beyond it.
    fn tell_rest(&self, events: u64) {
        let environment = self.views.environment().expect("there are rows");
        let (mut index, mut views) = (0, Vec::new());
        for name in environment.table_names().expect("they are read") {
            let table = environment.table(&name).expect("it is there");
            let bytes = environment.read().and_then(|rows| rows.bytes(&table)).expect("it is read");
            if name.starts_with("states-") { views.push(bytes) } else { index += bytes }
        }
        let each: Vec<String> =
            views.iter().map(|bytes| format!("{:.2}", bytes_each(*bytes, events))).collect();
        println!(
            "  at rest: {:.1} bytes of index a pair of 20 bytes, goal <= 45; {} of each view an event, goal <= 4",
            bytes_each(index, events),
            each.join(", ")
        );
    }

    fn derived_bytes(&self) -> u64 {
        let file = self.folder.path().join("derived/data.mdb");
        used(&file)
    }
}

#[derive(serde::Deserialize)]
struct Parsed<'d> {
    a: &'d str,
    n: i32,
}

/// What a sparse file takes on disk.
fn used(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(file).map_or(0, |file| file.blocks() * 512)
}

/// All figures for `events` events, and a tenth of them.
pub(crate) fn run(events: u64) {
    let mut plot = Vec::new();
    let wanted = |what: &str| {
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
        words.is_empty() || words.iter().any(|word| what.contains(word.as_str()))
    };
    if wanted("one aggregate") {
        for events in [events / 10, events] {
            one_aggregate(events, &mut plot);
        }
        if let [.., (fewer, less), (more, most)] = plot.as_slice() {
            let ratio = most.as_secs_f64() / less.as_secs_f64();
            println!("late event, Associative: t({more}) / t({fewer}) = {ratio:.2}");
        }
    }
    if wanted("many aggregates") {
        many_aggregates(events, (events * 648 / 10_000).max(1));
    }
    if wanted("pending") {
        pending(events);
    }
    if let Ok(file) = std::env::var("LATERBASE_BENCH_PLOT") {
        let mut more = vec![events / 1000, events / 100];
        more.retain(|events| *events >= 1000);
        for events in more {
            one_aggregate(events, &mut plot);
        }
        plot.sort_unstable();
        std::fs::write(file, drawn(&plot)).expect("the plot is written");
    }
}

fn line(what: &str, time: Duration, refold: Duration, replay: Duration) {
    let ratio = |of: Duration| of.as_secs_f64() / time.as_secs_f64();
    println!(
        "  {what:<44} {time:>10.1?}   {:>9.0}x refold in memory {:>9.0}x replay of JSON",
        ratio(refold),
        ratio(replay)
    );
}

fn one_aggregate(events: u64, plot: &mut Vec<(u64, Duration)>) {
    println!("one aggregate of {events} events");
    let root = Rooted::new(events, 1);
    root.fill();
    root.tell_rest(events);
    println!("  the file: {:.1} bytes an event", bytes_each(root.derived_bytes(), events));
    for view in ["profile", "last", "sum", "rolling"] {
        let (refold, replay) = (root.refold(view), root.replay(view));
        let late = Rooted::median(|_| {
            root.store.arrive(1);
            root.views.wake(false);
            root.now(view);
        });
        if view == "profile" {
            plot.push((events, late));
        }
        line(&format!("{view}: one event at the very start, read"), late, refold, replay);
        root.views.settle().expect("it settles");
        root.now(view);
        root.views.settle().expect("it settles");
        line(&format!("{view}: the same again"), Rooted::median(|_| root.now(view)), refold, replay);
        let time = |n: usize| {
            let number = 1 + (n as u64).wrapping_mul(0x9e37_79b9) % events;
            root.store.key(number).time().millis()
        };
        let at = Rooted::median(|n| root.ask(view, &Bounds { at_ms: Some(time(n)), ..Bounds::default() }));
        line(&format!("{view}: at"), at, refold, replay);
        if matches!(view, "profile" | "sum") {
            let window = Rooted::median(|n| {
                let (one, other) = (time(n), time(n + 1));
                let (from_ms, to_ms) = (Some(one.min(other)), Some(one.max(other)));
                root.ask(view, &Bounds { from_ms, to_ms, ..Bounds::default() });
            });
            line(&format!("{view}: a window"), window, refold, replay);
        }
        let known = Some(Known::At(i64::try_from(events * 9 / 10).expect("small")));
        let at_ms = Some(time(7));
        let begun = Instant::now();
        for _ in 0..5 {
            root.ask(view, &Bounds { at_ms, known: known.clone(), ..Bounds::default() });
        }
        line(&format!("{view}: at, as known a tenth ago"), begun.elapsed() / 5, refold, replay);
    }
}

fn many_aggregates(events: u64, aggregates: u64) {
    println!("{aggregates} aggregates, {events} events");
    let root = Rooted::new(events, aggregates);
    let begun = Instant::now();
    let followed = root.follow();
    root.views.wake(true);
    root.views.settle().expect("it settles");
    let indexed = begun.elapsed();
    let each = bytes_each(root.derived_bytes(), events);
    let begun = Instant::now();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for number in 1..=events {
        let step: Parsed<'_> = serde_json::from_slice(root.store.data(number)).expect("JSON");
        *sums.entry(step.a.to_owned()).or_default() += i64::from(step.n);
    }
    black_box(sums);
    let plain = begun.elapsed();
    let ratio = |time: Duration| plain.as_secs_f64() / time.as_secs_f64();
    println!(
        "  followed in {followed:.2?} ({:.2} of a plain parse and fold), in the index after {indexed:.2?} ({:.2})",
        ratio(followed),
        ratio(indexed)
    );
    root.tell_rest(events);
    println!("  the file: {each:.1} bytes an event");
    println!("  one aggregate: {:.1?}", Rooted::median(|_| root.now("profile")));
}

fn pending(events: u64) {
    println!("one aggregate while {events} events of others are not in the index yet");
    let root = Rooted::new(100_000, 1000);
    root.fill();
    let quiet = Rooted::median(|_| root.now("profile"));
    // Many come in, and nobody waits for the index.
    let mut times = Vec::new();
    let step = 256;
    for _ in 0..events / step {
        root.store.arrive(step);
        root.views.wake(false);
        let begun = Instant::now();
        root.now("profile");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!(
        "  nothing pending {quiet:.1?}; read after every {step} events: median {:.1?}, p99 {:.1?}",
        at(50),
        at(99)
    );
    let pending = Rooted::median(|_| root.now("profile"));
    println!(
        "  with what is pending then: {pending:.1?}, {:.2} of quiet",
        pending.as_secs_f64() / quiet.as_secs_f64()
    );
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn bytes_each(bytes: u64, events: u64) -> f64 {
    bytes as f64 / events as f64
}

/// The plot as SVG: repair time against number of events, both logarithmic.
#[expect(clippy::cast_precision_loss, reason = "a drawing")]
fn drawn(points: &[(u64, Duration)]) -> String {
    let x = |events: u64| 60.0 + ((events as f64).log10() - 3.0) * 120.0;
    let y = |time: Duration| 340.0 - (time.as_secs_f64() * 1e6).log10().max(0.0) * 80.0;
    let mut svg = String::from(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 400" font-family="sans-serif" font-size="12">"#,
    );
    for power in 3..=7 {
        let at = x(10_u64.pow(power));
        let _ = write!(
            svg,
            r##"<path d="M{at} 20V340" stroke="#ddd"/><text x="{at}" y="358" text-anchor="middle">10^{power}</text>"##
        );
    }
    for power in 0..=4 {
        let at = 340 - 80 * power;
        let _ = write!(
            svg,
            r##"<path d="M60 {at}H560" stroke="#ddd"/><text x="54" y="{at}" text-anchor="end">10^{power} us</text>"##
        );
    }
    let path: Vec<String> =
        points.iter().map(|(events, time)| format!("{:.1},{:.1}", x(*events), y(*time))).collect();
    let _ = write!(
        svg,
        r##"<polyline points="{}" fill="none" stroke="#06c" stroke-width="2"/>"##,
        path.join(" ")
    );
    for (events, time) in points {
        let _ = write!(svg, r##"<circle cx="{:.1}" cy="{:.1}" r="3" fill="#06c"/>"##, x(*events), y(*time));
    }
    svg.push_str(r#"<text x="310" y="385" text-anchor="middle">events in the aggregate</text><text x="310" y="14" text-anchor="middle">one event at the very start: follow, repair, answer</text></svg>"#);
    svg
}
