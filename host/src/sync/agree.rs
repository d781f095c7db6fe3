//! The question for a peer's dictionary: when it is asked, and what its answers mean.

use super::error::{ExchangeError, SyncError};
use super::frame::{Question, Tell};
use super::replica::Replica;
use super::round::{Exchange, Link, unexpected};

/// Asks for the peer's dictionary when there may be one that is not here. A peer that knows nothing of dictionaries
/// refuses the question, and is asked no more on this connection.
pub async fn agree(replica: &Replica, peer: &mut impl Exchange, link: &mut Link) -> Result<(), SyncError> {
    let arrivals = replica.store().read()?.head()?.arrivals;
    if !link.agreed.is_due(arrivals, replica.dictionary_arrivals_min()) {
        return Ok(());
    }
    let ask = link.question(Question::Dictionary { held: link.agreed.held() });
    let answer = match peer.exchange(ask.encode()).await {
        Err(ExchangeError::Refused { .. }) => {
            link.agreed.refused();
            return Ok(());
        }
        answer => Tell::decode(&answer?)?,
    };
    let Tell::Dictionary { name, packed } = answer else { return Err(unexpected("dictionary", &answer)) };
    Ok(link.agreed.take(name, &packed)?)
}
