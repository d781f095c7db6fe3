//! From the raw path to a route. Nothing is decoded, so nothing can be smuggled; names are checked before anything
//! else.

use super::names::{EVENTS, HOST, PluginName, RootName, ViewName};
use super::table::Methods;
use crate::problem::{Code, Problem};

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/{root}`.
    Root(RootName),
    /// `/{root}/e`.
    Events(RootName),
    /// `/{root}/e/changes`.
    Changes(RootName),
    /// `/{root}/{view}`.
    View(RootName, ViewName),
    /// `/_/livez`.
    Live,
    /// `/_/readyz`.
    Ready,
    /// `/_/metrics`.
    Metrics,
    /// `/_/roots`.
    Roots,
    /// `/_/plugins`.
    Plugins,
    /// `/_/plugins/{name}/reload`.
    Reload(PluginName),
    /// `/_/peers`.
    Peers,
    /// `/_/sync/{root}`.
    Sync(RootName),
    /// `/_/verify/{root}`.
    Verify(RootName),
    /// `/_/openapi.json`.
    OpenApi,
    /// `/_/docs`, and the files of that page.
    Docs(Asset),
}

/// A file of the page that shows the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asset {
    /// The page itself.
    Page,
    /// How it looks.
    Style,
    /// What it does.
    Script,
}

impl Route {
    /// The route of a raw path: `bad_name` if a name in it is not one, `unknown_route` if its shape is not one of ours.
    pub(super) fn parse(path: &str) -> Result<Self, Problem> {
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let first = segments.next().unwrap_or_default();
        if first == HOST {
            return Self::host(segments);
        }
        let root = RootName::parse(first)?;
        match (segments.next(), segments.next(), segments.next()) {
            (None, ..) => Ok(Self::Root(root)),
            (Some(EVENTS), None, _) => Ok(Self::Events(root)),
            (Some(EVENTS), Some("changes"), None) => Ok(Self::Changes(root)),
            (Some(EVENTS), ..) => Err(unknown("below /{root}/e there is only /{root}/e/changes")),
            (Some(view), None, _) => Ok(Self::View(root, ViewName::parse(view)?)),
            (Some(view), ..) => {
                ViewName::parse(view)?;
                Err(unknown("below /{root}/{view} there is nothing; keys go into ?key="))
            }
        }
    }

    fn host<'a>(mut segments: impl Iterator<Item = &'a str>) -> Result<Self, Problem> {
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("livez"), None, ..) => Ok(Self::Live),
            (Some("readyz"), None, ..) => Ok(Self::Ready),
            (Some("metrics"), None, ..) => Ok(Self::Metrics),
            (Some("roots"), None, ..) => Ok(Self::Roots),
            (Some("plugins"), None, ..) => Ok(Self::Plugins),
            (Some("openapi.json"), None, ..) => Ok(Self::OpenApi),
            (Some("docs"), None, ..) => Ok(Self::Docs(Asset::Page)),
            (Some("docs"), Some("page.css"), None, _) => Ok(Self::Docs(Asset::Style)),
            (Some("docs"), Some("page.js"), None, _) => Ok(Self::Docs(Asset::Script)),
            (Some("peers"), None, ..) => Ok(Self::Peers),
            (Some("sync"), Some(root), None, _) => Ok(Self::Sync(RootName::parse(root)?)),
            (Some("verify"), Some(root), None, _) => Ok(Self::Verify(RootName::parse(root)?)),
            (Some("plugins"), Some(name), Some("reload"), None) => Ok(Self::Reload(PluginName::parse(name)?)),
            _ => Err(unknown("the routes under /_/ are listed in /_/openapi.json")),
        }
    }

    /// The methods it has.
    pub(super) fn methods(&self) -> Methods {
        Methods::of(self.pattern())
    }

    /// The route with its names left open, as metrics and logs show it.
    pub(super) fn pattern(&self) -> &'static str {
        match self {
            Self::Root(_) => "/{root}",
            Self::Events(_) => "/{root}/e",
            Self::Changes(_) => "/{root}/e/changes",
            Self::View(..) => "/{root}/{view}",
            Self::Live => "/_/livez",
            Self::Ready => "/_/readyz",
            Self::Metrics => "/_/metrics",
            Self::Roots => "/_/roots",
            Self::Plugins => "/_/plugins",
            Self::Reload(_) => "/_/plugins/{name}/reload",
            Self::Peers => "/_/peers",
            Self::Sync(_) => "/_/sync/{root}",
            Self::Verify(_) => "/_/verify/{root}",
            Self::OpenApi => "/_/openapi.json",
            Self::Docs(Asset::Page) => "/_/docs",
            Self::Docs(Asset::Style) => "/_/docs/page.css",
            Self::Docs(Asset::Script) => "/_/docs/page.js",
        }
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(Code::UnknownRoute, detail)
}

#[cfg(test)]
impl Route {
    /// The pattern of every kind of route.
    pub(super) fn patterns() -> std::collections::BTreeSet<&'static str> {
        let root = || RootName::parse("r").expect("a name");
        let view = ViewName::parse("v").expect("a name");
        let plugin = PluginName::parse("p").expect("a name");
        let all = [
            Self::Root(root()),
            Self::Events(root()),
            Self::Changes(root()),
            Self::View(root(), view),
            Self::Live,
            Self::Ready,
            Self::Metrics,
            Self::Roots,
            Self::Plugins,
            Self::Reload(plugin),
            Self::Peers,
            Self::Sync(root()),
            Self::Verify(root()),
            Self::OpenApi,
            Self::Docs(Asset::Page),
            Self::Docs(Asset::Style),
            Self::Docs(Asset::Script),
        ];
        // A kind that is not here does not compile: name it above, too.
        let named = |route: &Self| match route {
            Self::Root(_)
            | Self::Events(_)
            | Self::Changes(_)
            | Self::View(..)
            | Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::Roots
            | Self::Plugins
            | Self::Reload(_)
            | Self::Peers
            | Self::Sync(_)
            | Self::Verify(_)
            | Self::OpenApi
            | Self::Docs(Asset::Page | Asset::Style | Asset::Script) => route.pattern(),
        };
        all.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What each path is, one line a situation: a wrong name never gets as far as a route.
    #[test]
    fn paths() {
        let long = format!("/{}", "a".repeat(64));
        let edge = format!("/{}", "a".repeat(63));
        let table = [
            ("/tally", "/{root}"),
            ("/tally/e", "/{root}/e"),
            ("/tally/e/changes", "/{root}/e/changes"),
            ("/tally/total", "/{root}/{view}"),
            ("/0/9-_", "/{root}/{view}"),
            (edge.as_str(), "/{root}"),
            ("/_/livez", "/_/livez"),
            ("/_/readyz", "/_/readyz"),
            ("/_/metrics", "/_/metrics"),
            ("/_/roots", "/_/roots"),
            ("/_/plugins", "/_/plugins"),
            ("/_/plugins/tally/reload", "/_/plugins/{name}/reload"),
            ("/_/openapi.json", "/_/openapi.json"),
            ("/_/docs", "/_/docs"),
            ("/_/docs/page.css", "/_/docs/page.css"),
            ("/_/docs/page.js", "/_/docs/page.js"),
            ("/_/docs/", "unknown_route"),
            ("/_/docs/..%2fpage.js", "unknown_route"),
            ("/_/peers", "/_/peers"),
            ("/_/sync/tally", "/_/sync/{root}"),
            ("/_/sync/..%2f", "bad_name"),
            ("/_/verify/tally", "/_/verify/{root}"),
            ("/_/verify/..%2f", "bad_name"),
            ("/_/verify", "unknown_route"),
            ("/_/sync", "unknown_route"),
            ("/", "bad_name"),
            ("", "bad_name"),
            ("*", "bad_name"),
            ("//tally", "bad_name"),
            ("/tally/", "bad_name"),
            ("/e", "bad_name"),
            ("/e/e", "bad_name"),
            ("/_x", "bad_name"),
            ("/tally/_x", "bad_name"),
            ("/-x", "bad_name"),
            ("/Tally", "bad_name"),
            ("/t\u{e4}lly", "bad_name"),
            ("/t%61lly", "bad_name"),
            ("/..", "bad_name"),
            ("/../etc/passwd", "bad_name"),
            ("/%2e%2e/e", "bad_name"),
            ("/..%2f..%2fetc", "bad_name"),
            ("/tally%2fe", "bad_name"),
            ("/tally%00", "bad_name"),
            ("/tally%0d%0a/e", "bad_name"),
            ("/tally/../e", "bad_name"),
            ("/tally/total%2f", "bad_name"),
            ("/tally.db", "bad_name"),
            (long.as_str(), "bad_name"),
            ("/_/plugins/..%2f/reload", "bad_name"),
            ("/tally/e/", "unknown_route"),
            ("/tally/e/change", "unknown_route"),
            ("/tally/e/changes/x", "unknown_route"),
            ("/tally/total/x", "unknown_route"),
            ("/_", "unknown_route"),
            ("/_/", "unknown_route"),
            ("/_/livez/", "unknown_route"),
            ("/_/plugins/tally", "unknown_route"),
            ("/_/../tally", "unknown_route"),
        ];
        for (path, expected) in table {
            let found = match Route::parse(path) {
                Ok(route) => route.pattern(),
                Err(problem) => problem.code.word(),
            };
            assert_eq!(found, expected, "{path}");
        }
    }
}
