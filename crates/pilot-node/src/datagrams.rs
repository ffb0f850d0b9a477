//! Datagrams: unreliable, one packet each, under the same admission as streams.

use pilot_transport::DatagramError;
use pilot_types::Port;
use pilot_wire::DatagramHeader;

use crate::dials::{DialPurpose, Target};
use crate::event::{DialError, DialId, Event, SessionKey};
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::Class;

impl Node {
    /// Sends one datagram to a port of an agent, after a handshake if there is no session; [`Event::Delivered`] follows
    /// once it was handed to the session, or [`Event::DialFailed`]. Whether it arrives is not told.
    ///
    /// # Errors
    /// [`DialError::Busy`] if too many dials are under way, [`DialError::TooLarge`] if it fits no packet.
    pub fn send_datagram(
        &mut self,
        now: Now,
        target: Target,
        port: Port,
        data: &[u8],
    ) -> Result<DialId, DialError> {
        let max = self.max_datagram();
        if data.len() > max {
            return Err(DialError::TooLarge { max });
        }
        let data = data.to_vec();
        self.start_dial(now, target, DialPurpose::Datagram { port, data })
    }

    /// Most bytes of data that a datagram carries on every path.
    #[must_use]
    pub fn max_datagram(&self) -> usize {
        /// A DATAGRAM frame's type and length.
        const FRAME: usize = 3;
        let sealed = pilot_session::Endpoint::overhead();
        let overhead = sealed.head + sealed.tail + FRAME + DatagramHeader::LEN;
        pilot_wire::limits::BASE_DATAGRAM.saturating_sub(overhead)
    }

    /// The dial's session is there: the datagram leaves in it.
    pub(crate) fn datagram_for_dial(
        &mut self,
        now: Now,
        key: SessionKey,
        id: DialId,
        (port, data): (Port, &[u8]),
    ) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let agent = session.agent;
        let header = DatagramHeader::new(session.ephemeral_port(), port);
        let sent = session
            .transport
            .send_datagram(now.instant, &header.encode(data));
        match sent {
            Ok(()) => {
                self.dials.remove(id);
                self.output.event(Event::Delivered { dial: id, agent });
            }
            Err(DatagramError::TooLarge { max }) => {
                let max = max.saturating_sub(DatagramHeader::LEN);
                self.fail_dial(id, DialError::TooLarge { max });
            }
            Err(DatagramError::Full | DatagramError::Closed | _) => {
                self.fail_dial(id, DialError::Busy);
            }
        }
    }

    /// A peer sent a datagram: the same rule as for its streams says whether it comes through.
    pub(crate) fn handle_datagram_frame(&mut self, now: Now, key: SessionKey, body: &[u8]) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        let Ok((header, data)) = DatagramHeader::decode(body) else {
            self.output.drops.count("datagram_malformed");
            return;
        };
        let agent = session.agent;
        let is_agent = matches!(session.class, Class::Peer | Class::Stranger);
        if !is_agent || !self.trust.admits(now.unix, &agent, header.destination) {
            self.output.drops.count("datagram_not_trusted");
            return;
        }
        if !self.ports.datagrams.contains(&header.destination) {
            self.output.drops.count("datagram_port_closed");
            return;
        }
        self.output.event(Event::Datagram {
            agent,
            header,
            data: data.to_vec(),
        });
    }

    /// Lets peers that we trust send datagrams to `port`; `false` if somebody takes them already.
    pub fn listen_datagrams(&mut self, port: Port) -> bool {
        self.ports.datagrams.insert(port)
    }

    /// Datagrams to `port` are dropped from now on.
    pub fn unlisten_datagrams(&mut self, port: Port) {
        self.ports.datagrams.remove(&port);
    }
}
