"""A whole conversation, by the names of ``reliable_ws.protocol`` alone."""

from reliable_ws import protocol
from reliable_ws.protocol import Arrived, Confirmed, Detached, Ended, Opened, open_payload, seal

CODEC, ID, KEY = protocol.MsgpackCodec(), bytes(16), bytes(32)  # a driver draws id and key


class Side:
    """The driver of one side. Its WebSocket is a call: the peer receives at once."""

    def __init__(self, session, link):
        self.session, self.link, self.events = session, link, []

    def step(self, now, events=()):
        self.events += events  # 1. dispatch what the verb returned, or what it left to conclude
        if self.session.due:
            self.events += self.session.poll(now)
        while (data := self.link.transmit(now)) is not None:  # 2. write
            self.peer.step(now, self.peer.session.receive(self.peer.link, data, now))
        self.closed = self.link.close_action  # 3. close the WebSocket, if the link is over
        self.tick_at = self.session.deadline  # 4. the time of the next tick


def connect(session, registry, now):
    link, arrival = session.dial(now), registry.arrive(now)
    events = arrival.receive(link.transmit(now), now)  # Hello: now the arrival has a link
    client, server = Side(session, link), Side(arrival.session, arrival.link)
    client.peer, server.peer = server, client
    server.step(now, events)
    return client, server


def test_a_whole_conversation():
    registry = protocol.SessionRegistry(incarnation=1)
    session = protocol.Session("initiator", ID, KEY, now=0.0)
    client, server = connect(session, registry, 0.0)
    assert client.events == server.events == [Opened(resumed=False, replayed=0)]

    session.want(session.send("an order"))  # the client waits for the confirmation
    client.step(1.0)
    assert (server.events[-1], server.session.take()) == (Arrived(1), "an order")
    server.session.send("accepted")  # the server does not: its ack goes a little later
    server.step(1.0)
    assert (client.events[-2:], session.take()) == ([Confirmed(1), Arrived(1)], "accepted")
    client.step(1.0)
    client.step(client.tick_at, session.tick(client.tick_at))
    assert server.events[-1] == Confirmed(1)

    request = session.request("add", *seal([1, 2], CODEC))
    client.step(2.0)
    asked = server.events[-1]
    result = sum(open_payload(asked.payload, asked.id, CODEC))
    server.session.reply(asked.id, *seal(result, CODEC))
    server.step(2.0)
    assert client.events[-1] == protocol.Replied(request, seal(3, CODEC)[0])

    session.send("another order")
    client.link.transmit(3.0)  # the WebSocket dies with it
    for side in (client, server):
        assert side.session.lost(side.link, None, "reset", 3.0) == [Detached(None, "reset")]
    client, server = connect(session, registry, 4.0)  # and the next one brings it again
    assert client.events == [Opened(resumed=True, replayed=1)]
    assert server.session.take() == "another order"

    client.step(5.0, session.close(5.0))
    agreed = protocol.Ending(protocol.End.FINISHED, 1000, "")
    assert client.events[-1] == server.events[-1] == Ended(agreed)
    assert client.closed == protocol.CloseAction(1000, "", linger=False)
    assert session.report() == protocol.Report(sent=2, confirmed=2, ending=agreed)
