//! The Core Business Vocabulary: which bare words EPCIS 2.0 knows, and the URIs that they stand for.
//!
//! A business step may be written `receiving`, `cbv:BizStep-receiving`, `urn:epcglobal:cbv:bizstep:receiving` or
//! `https://ref.gs1.org/cbv/BizStep-receiving`. Stored and in views it is the bare word; in the hash it is the URI.

use std::borrow::Cow;

/// One list of words of the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// Business steps.
    Step,
    /// Dispositions.
    Disposition,
    /// Types of business transactions.
    Transaction,
    /// Types of sources and destinations.
    Party,
    /// Reasons of error declarations.
    Reason,
    /// What a sensor measures.
    Measurement,
    /// Alarms and errors of a sensor.
    Exception,
    /// Parts of a vector that a sensor measures.
    Component,
}

impl Vocabulary {
    /// What its words are called, for sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "business step",
            Self::Disposition => "disposition",
            Self::Transaction => "business transaction type",
            Self::Party => "source or destination type",
            Self::Reason => "error reason",
            Self::Measurement => "measurement type",
            Self::Exception => "sensor exception",
            Self::Component => "measurement component",
        }
    }

    /// What stands before a word in its Web URI.
    fn prefix(self) -> &'static str {
        match self {
            Self::Step => "https://ref.gs1.org/cbv/BizStep-",
            Self::Disposition => "https://ref.gs1.org/cbv/Disp-",
            Self::Transaction => "https://ref.gs1.org/cbv/BTT-",
            Self::Party => "https://ref.gs1.org/cbv/SDT-",
            Self::Reason => "https://ref.gs1.org/cbv/ER-",
            Self::Component => "https://ref.gs1.org/cbv/Comp-",
            Self::Measurement | Self::Exception => "https://gs1.org/voc/",
        }
    }

    /// Whether `text` is one of its bare words.
    pub fn knows(self, text: &str) -> bool {
        let words = match self {
            Self::Step => STEPS,
            Self::Disposition => DISPOSITIONS,
            Self::Transaction => TRANSACTIONS,
            Self::Party => PARTIES,
            Self::Reason => REASONS,
            Self::Measurement => MEASUREMENTS,
            Self::Exception => EXCEPTIONS,
            Self::Component => COMPONENTS,
        };
        words.binary_search(&text).is_ok()
    }

    /// The Web URI of a bare word of this vocabulary; anything else with a URN of the vocabulary written as Web URI.
    pub fn expand(self, text: &str) -> Cow<'_, str> {
        if self.knows(text) { Cow::Owned(format!("{}{text}", self.prefix())) } else { of_urn(text) }
    }

    /// The bare word that `text` stands for, if it is one or the Web URI of one.
    pub fn word(self, text: &str) -> Option<&str> {
        let word = text.strip_prefix(self.prefix()).unwrap_or(text);
        self.knows(word).then_some(word)
    }
}

/// `text` with a URN of the vocabulary written as Web URI.
pub fn of_urn(text: &str) -> Cow<'_, str> {
    let Some((list, word)) = text.strip_prefix("urn:epcglobal:cbv:").and_then(|rest| rest.split_once(':'))
    else {
        return Cow::Borrowed(text);
    };
    let vocabulary = match list {
        "bizstep" => Vocabulary::Step,
        "disp" => Vocabulary::Disposition,
        "btt" => Vocabulary::Transaction,
        "sdt" => Vocabulary::Party,
        "er" => Vocabulary::Reason,
        _ => return Cow::Borrowed(text),
    };
    Cow::Owned(format!("{}{word}", vocabulary.prefix()))
}

// Each list in the order of its bytes, for it is searched by halves.

const STEPS: &[&str] = &[
    "accepting",
    "arriving",
    "assembling",
    "collecting",
    "commissioning",
    "consigning",
    "creating_class_instance",
    "cycle_counting",
    "decommissioning",
    "departing",
    "destroying",
    "disassembling",
    "dispensing",
    "encoding",
    "entering_exiting",
    "holding",
    "inspecting",
    "installing",
    "killing",
    "loading",
    "other",
    "packing",
    "picking",
    "receiving",
    "removing",
    "repackaging",
    "repairing",
    "replacing",
    "reserving",
    "retail_selling",
    "sampling",
    "sensor_reporting",
    "shipping",
    "staging_outbound",
    "stock_taking",
    "stocking",
    "storing",
    "transporting",
    "unloading",
    "unpacking",
    "void_shipping",
];

const DISPOSITIONS: &[&str] = &[
    "active",
    "available",
    "completeness_inferred",
    "completeness_verified",
    "conformant",
    "container_closed",
    "container_open",
    "damaged",
    "destroyed",
    "dispensed",
    "disposed",
    "encoded",
    "expired",
    "in_progress",
    "in_transit",
    "inactive",
    "mismatch_class",
    "mismatch_instance",
    "mismatch_quantity",
    "needs_replacement",
    "no_pedigree_match",
    "non_conformant",
    "non_sellable_other",
    "partially_dispensed",
    "recalled",
    "reserved",
    "retail_sold",
    "returned",
    "sellable_accessible",
    "sellable_not_accessible",
    "stolen",
    "unavailable",
    "unknown",
];

const TRANSACTIONS: &[&str] = &[
    "bol",
    "cert",
    "desadv",
    "inv",
    "pedigree",
    "po",
    "poc",
    "prodorder",
    "recadv",
    "rma",
    "testprd",
    "testres",
    "upevt",
];

const PARTIES: &[&str] = &["location", "owning_party", "possessing_party"];

const REASONS: &[&str] = &["did_not_occur", "incorrect_data"];

const EXCEPTIONS: &[&str] = &["ALARM_CONDITION", "ERROR_CONDITION"];

const COMPONENTS: &[&str] = &[
    "altitude",
    "axial_distance",
    "azimuth",
    "easting",
    "elevation_angle",
    "height",
    "latitude",
    "longitude",
    "northing",
    "polar_angle",
    "spherical_radius",
    "x",
    "y",
    "z",
];

const MEASUREMENTS: &[&str] = &[
    "AbsoluteHumidity",
    "AbsorbedDose",
    "AbsorbedDoseRate",
    "Acceleration",
    "Altitude",
    "AmountOfSubstance",
    "AmountOfSubstancePerUnitVolume",
    "Angle",
    "AngularAcceleration",
    "AngularMomentum",
    "AngularVelocity",
    "Area",
    "Capacitance",
    "Conductance",
    "Conductivity",
    "Count",
    "Density",
    "Dimensionless",
    "DoseEquivalent",
    "DoseEquivalentRate",
    "DynamicViscosity",
    "ElectricCharge",
    "ElectricCurrent",
    "ElectricCurrentDensity",
    "ElectricFieldStrength",
    "Energy",
    "Exposure",
    "Force",
    "Frequency",
    "Illuminance",
    "Inductance",
    "Irradiance",
    "KinematicViscosity",
    "Length",
    "LinearMomentum",
    "Luminance",
    "LuminousFlux",
    "LuminousIntensity",
    "MagneticFlux",
    "MagneticFluxDensity",
    "MagneticVectorPotential",
    "Mass",
    "MassConcentration",
    "MassFlowRate",
    "MassPerAreaTime",
    "MemoryCapacity",
    "MolalityOfSolute",
    "MolarEnergy",
    "MolarMass",
    "MolarVolume",
    "Power",
    "Pressure",
    "RadiantFlux",
    "RadiantIntensity",
    "Radioactivity",
    "RelativeHumidity",
    "Resistance",
    "Resistivity",
    "SolidAngle",
    "SpecificVolume",
    "Speed",
    "SurfaceDensity",
    "SurfaceTension",
    "Temperature",
    "Time",
    "Torque",
    "Voltage",
    "Volume",
    "VolumeFlowRate",
    "VolumeFraction",
    "VolumetricFlux",
    "Wavenumber",
];

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each word is found, which it is only if its list is sorted; and it comes back from its URI.
    #[test]
    fn sorted() {
        for (vocabulary, words) in [
            (Vocabulary::Step, STEPS),
            (Vocabulary::Disposition, DISPOSITIONS),
            (Vocabulary::Transaction, TRANSACTIONS),
            (Vocabulary::Party, PARTIES),
            (Vocabulary::Reason, REASONS),
            (Vocabulary::Measurement, MEASUREMENTS),
            (Vocabulary::Exception, EXCEPTIONS),
            (Vocabulary::Component, COMPONENTS),
        ] {
            for word in words {
                assert!(vocabulary.knows(word), "{word}");
                assert_eq!(vocabulary.word(&vocabulary.expand(word)), Some(*word));
            }
        }
    }
}
