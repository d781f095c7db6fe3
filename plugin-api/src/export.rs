//! `export_plugin!`: what makes a crate of safe traits a plugin library.
//!
//! The macro writes three things into the plugin's crate: the section `.laterbase` (see [`crate::section`]), the entry
//! symbol `laterbase_plugin_<name>` (hyphens as underscores), an `abi_stable` library header whose root module is
//! [`PluginModuleRef`], and `pub fn plugin()` for programs that link the plugin statically. Entry symbols differ by
//! name, so several plugins fit into one program. The author's crate holds no unsafe code: the one unsafe call is
//! below, and the macro implements [`Plugin`] for a private type.
#![expect(
    unsafe_code,
    reason = "making a library header promises what kind of module its constructor returns"
)]

use crate::abi::{InstanceAbi_TO, InstanceBox, PluginModule, PluginModuleRef, PluginResult};
use crate::declare::Manifest;
use crate::guard;
use crate::instance::{Instance, Setup};
use crate::refusal::Refusal;
use abi_stable::erased_types::TD_Opaque;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RStr, RString};

/// What `export_plugin!` implements; not for authors.
#[doc(hidden)]
pub trait Plugin: 'static {
    const NAME: &'static str;
    const VERSION: &'static str;
    const ROOTS: &'static [&'static str];
    fn configure(setup: &Setup<'_>) -> Result<Instance, Refusal>;
    fn self_check() -> Result<(), Refusal>;
}

/// A plugin that is linked into the program: generation 0 of its name.
#[derive(Clone, Copy)]
pub struct StaticPlugin {
    module: PluginModuleRef,
}

impl StaticPlugin {
    #[doc(hidden)]
    pub fn of<P: Plugin>() -> Self {
        Self { module: module::<P>() }
    }

    /// The same root module that a library exports.
    pub fn module(&self) -> PluginModuleRef {
        self.module
    }

    /// Its name, version and roots.
    ///
    /// # Panics
    /// Never: the manifest is made by the code beside it.
    pub fn manifest(&self) -> Manifest {
        serde_json::from_str(self.module.manifest()().as_str()).expect("a manifest is JSON")
    }

    /// An instance for `root`, as the host makes it.
    pub fn configure(&self, root: &str, config: &str) -> PluginResult<InstanceBox> {
        self.module.configure()(root.into(), config.into())
    }
}

impl std::fmt::Debug for StaticPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StaticPlugin").field(&self.manifest().name).finish()
    }
}

/// The library header whose constructor makes the root module of `P`.
#[doc(hidden)]
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: the constructor below returns the root module that it is declared to return, a PluginModuleRef.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(constructor::<P>, CheckTypeLayout::Yes) }
}

extern "C" fn constructor<P: Plugin>() -> RootModuleResult {
    __call_root_module_loader(module::<P>)
}

fn module<P: Plugin>() -> PluginModuleRef {
    guard::keep_quiet();
    PluginModule { manifest: manifest::<P>, configure: configure::<P>, self_check: self_check::<P> }
        .leak_into_prefix()
}

extern "C" fn manifest<P: Plugin>() -> RString {
    let (name, version) = (P::NAME.to_owned(), P::VERSION.to_owned());
    let roots = P::ROOTS.iter().map(|root| (*root).to_owned()).collect();
    serde_json::to_string(&Manifest { name, version, roots }).expect("names are JSON").into()
}

extern "C" fn configure<P: Plugin>(root: RStr<'_>, config: RStr<'_>) -> PluginResult<InstanceBox> {
    guard::run(|| {
        let instance = P::configure(&Setup::new(root.as_str(), config.as_str()))?;
        Ok(InstanceAbi_TO::from_value(instance, TD_Opaque))
    })
}

extern "C" fn self_check<P: Plugin>() -> PluginResult<()> {
    guard::run(|| Ok(P::self_check()?))
}

/// Makes the crate a plugin. Once a crate, at the top of `lib.rs`:
///
/// ```
/// use laterbase_plugin::{BuildError, Instance, Setup, export_plugin};
/// export_plugin! { name: "nothing", roots: [], configure: configure }
/// fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> {
///     Instance::builder().build()
/// }
/// ```
///
/// - `name`: `[a-z0-9][a-z0-9_-]{0,62}`, the plugin's name in the host's routes and configuration.
/// - `roots`: the roots that it is for without any configuration; may be empty.
/// - `configure`: a function from `&Setup` to an [`Instance`], or an error that converts into a [`Refusal`].
/// - `self_check` (optional): a function to `Result<(), Refusal>` that the host runs in a process of its own before it
///   loads the library; keep it below a second.
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:literal,
        roots: [$($root:literal),* $(,)?],
        configure: $configure:expr
        $(, self_check: $self_check:expr)? $(,)?
    ) => {
        /// The plugin, for a program that links it statically.
        pub fn plugin() -> $crate::StaticPlugin {
            $crate::StaticPlugin::of::<LaterbasePlugin>()
        }
        #[doc(hidden)]
        enum LaterbasePlugin {}
        impl $crate::export::Plugin for LaterbasePlugin {
            const NAME: &'static str = $name;
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            const ROOTS: &'static [&'static str] = &[$($root),*];
            fn configure(
                setup: &$crate::Setup<'_>,
            ) -> ::core::result::Result<$crate::Instance, $crate::Refusal> {
                $configure(setup).map_err(::core::convert::Into::into)
            }
            fn self_check() -> ::core::result::Result<(), $crate::Refusal> {
                $(
                    let check: fn() -> ::core::result::Result<(), $crate::Refusal> = $self_check;
                    check()?;
                )?
                ::core::result::Result::Ok(())
            }
        }
        const _: () = {
            const VERSION: &::core::primitive::str = ::core::env!("CARGO_PKG_VERSION");
            const UNWINDS: ::core::primitive::bool = ::core::cfg!(panic = "unwind");
            $crate::entry! {
                $name,
                $crate::export::header::<LaterbasePlugin>(),
                $crate::section::length($name, VERSION, UNWINDS),
                $crate::section::write($name, VERSION, UNWINDS)
            }
        };
    };
}
