//! Tests of the EPCIS plugin over its public surface, with the generated acceptance data in `tests/data`.

#[cfg(test)]
mod amounts;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod holding;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod identifiers;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod support;
