//! A plugin without a library, whose answers the tests choose, lies included.

use super::instance::{Identity, Instance};
use laterbase_plugin::EventRef;
use laterbase_plugin::abi::{
    Call, DeltaRef, Emitted, InstanceAbi, InstanceAbi_TO, IntakeEvent, PluginResult, ReaderRefAbi,
    ReportItem, ReportQuery, Rows, Verdict,
};
use laterbase_plugin::abi_stable::erased_types::TD_Opaque;
use laterbase_plugin::abi_stable::std_types::{ROk, ROption, RSlice, RStr, RString, RVec};
use laterbase_plugin::declare::{
    AlgebraKind, Declaration, KeyspaceDeclaration, ReportDeclaration, SchemaDeclaration, TypeDeclaration,
    ViewDeclaration,
};
use std::sync::Arc;

/// What the fake answers; each field is copied into the `out` of the call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) rows: Rows,
    pub(crate) emitted: Emitted,
    pub(crate) intake: Vec<IntakeEvent>,
    pub(crate) bytes: Vec<u8>,
}

/// Two event types (`made` of version 3 that can retract, `lost`), a format, a Keyspace, a View and a Report.
pub(crate) fn declaration() -> Declaration {
    let made = TypeDeclaration { number: 1, name: "made".to_owned(), version: 3 };
    let lost = TypeDeclaration { number: 2, name: "lost".to_owned(), version: 1 };
    Declaration {
        schemas: vec![SchemaDeclaration {
            name: "things".to_owned(),
            revision: 1,
            types: vec![made, lost],
            formats: vec!["lines".to_owned()],
            retracts: true,
            depends: None,
        }],
        keyspaces: vec![KeyspaceDeclaration {
            name: "all".to_owned(),
            revision: 1,
            types: vec![1, 2],
            parts: 1,
            depends: None,
        }],
        views: vec![ViewDeclaration {
            name: "sum".to_owned(),
            revision: 1,
            keyspace: 0,
            algebra: AlgebraKind::Group,
            depends: None,
        }],
        reports: vec![ReportDeclaration { name: "list".to_owned(), revision: 1 }],
    }
}

/// Generation 1 of the plugin `plugin` for the root `root`.
pub(crate) fn instance(plugin: &str, declaration: Declaration, answers: Answers) -> Arc<Instance> {
    let identity = Identity {
        plugin: plugin.to_owned(),
        version: "1.0.0".to_owned(),
        generation: 1,
        library: [1; 32],
        root: "root".to_owned(),
        config: "{}".to_owned(),
    };
    Arc::new(Instance::new(identity, declaration, InstanceAbi_TO::from_value(Fake(answers), TD_Opaque)))
}

struct Fake(Answers);

impl InstanceAbi for Fake {
    fn declaration(&self) -> RString {
        RString::new()
    }

    fn admit(
        &self,
        _: &Call<'_>,
        _: u32,
        _: RSlice<'_, EventRef<'_>>,
        out: &mut RVec<Verdict>,
    ) -> PluginResult<()> {
        *out = self.0.verdicts.clone().into();
        ROk(())
    }

    /// Without an answer of the test's: the data with a `+` behind it.
    fn upcast(
        &self,
        _: &Call<'_>,
        _: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Rows,
    ) -> PluginResult<()> {
        *out = self.0.rows.clone();
        if self.0.rows.spans.is_empty() {
            for (item, event) in (0..).zip(events) {
                let offset = u32::try_from(out.bytes.len()).expect("short");
                out.bytes.extend_from_copy_slice(&event.data);
                out.bytes.push(b'+');
                let length = u32::try_from(event.data.len()).expect("short") + 1;
                out.spans.push(laterbase_plugin::abi::Span { item, offset, length });
            }
        }
        ROk(())
    }

    fn intake(
        &self,
        _: &Call<'_>,
        _: RStr<'_>,
        _: RStr<'_>,
        _: RSlice<'_, u8>,
        out: &mut RVec<IntakeEvent>,
    ) -> PluginResult<()> {
        *out = self.0.intake.clone().into();
        ROk(())
    }

    fn retracts(
        &self,
        _: &Call<'_>,
        _: u32,
        _: RSlice<'_, EventRef<'_>>,
        out: &mut Rows,
    ) -> PluginResult<()> {
        *out = self.0.rows.clone();
        ROk(())
    }

    fn map(&self, _: &Call<'_>, _: u32, _: RSlice<'_, EventRef<'_>>, out: &mut Emitted) -> PluginResult<()> {
        *out = self.0.emitted.clone();
        ROk(())
    }

    fn query_key(
        &self,
        _: &Call<'_>,
        _: u32,
        _: RSlice<'_, RStr<'_>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        self.answer(out)
    }

    fn fold(
        &self,
        _: &Call<'_>,
        _: u32,
        _: ROption<RSlice<'_, u8>>,
        _: RSlice<'_, DeltaRef<'_>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        self.answer(out)
    }

    fn merge(
        &self,
        _: &Call<'_>,
        _: u32,
        _: RSlice<'_, RSlice<'_, u8>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        self.answer(out)
    }

    fn invert(&self, _: &Call<'_>, _: u32, _: RSlice<'_, u8>, out: &mut RVec<u8>) -> PluginResult<()> {
        self.answer(out)
    }

    fn render(
        &self,
        _: &Call<'_>,
        _: u32,
        _: RSlice<'_, u8>,
        _: RSlice<'_, u8>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        self.answer(out)
    }

    fn report(
        &self,
        _: &Call<'_>,
        _: u32,
        _: &ReportQuery<'_>,
        _: &ReaderRefAbi<'_>,
        _: &mut RVec<ReportItem>,
    ) -> PluginResult<()> {
        ROk(())
    }
}

impl Fake {
    fn answer(&self, out: &mut RVec<u8>) -> PluginResult<()> {
        *out = self.0.bytes.clone().into();
        ROk(())
    }
}
