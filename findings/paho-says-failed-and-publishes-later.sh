#!/usr/bin/env bash
# paho-mqtt says that a publish failed, keeps the message all the same, and publishes it later.
#
# Expected: when publish() returns MQTT_ERR_NO_CONN and wait_for_publish() raises "Message publish
# failed", the message was not accepted, and the application publishes it again when it is connected.
# What happens: that is so for QoS 0. With QoS 1 and 2 the message is in the client's queue under the
# id that publish() returned. It leaves with the next connection, without the DUP flag, and arrives
# twice where the application has published it again.
# Versions: paho-mqtt 2.2.0, mosquitto 2 (run with Debian's 2.0.11).
# Who meets it: whoever publishes with QoS 1 or 2 and repeats what was refused, or shows "not sent".
# What to do: take MQTT_ERR_NO_CONN for "queued" with QoS 1 and 2 (MQTT_ERR_QUEUE_SIZE is the one
# that refuses), wait for on_publish with the id, and put a number of your own into the message.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v mosquitto >/dev/null && ! [ -x /usr/sbin/mosquitto ]; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends mosquitto >/dev/null
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check paho-mqtt==2.2.0

cd "$work"
PATH=$PATH:/usr/sbin venv/bin/python - <<'EOF'
import queue
import socket
import subprocess
import sys
import time

import paho.mqtt
import paho.mqtt.client as mqtt

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
with open("mosquitto.conf", "w") as file:
    file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\n")


def broker() -> subprocess.Popen[bytes]:
    """Start a broker, and return when it takes connections."""
    process = subprocess.Popen(["mosquitto", "-c", "mosquitto.conf"], stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process
    sys.exit("mosquitto did not start")


subscribed: queue.Queue[bool] = queue.Queue()
disconnected: queue.Queue[bool] = queue.Queue()
received: queue.Queue[tuple[bytes, bool]] = queue.Queue()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "one")
client.on_connect = lambda *_: client.subscribe("news", 2)
client.on_subscribe = lambda *_: subscribed.put(True)
client.on_disconnect = lambda *_: disconnected.put(True)
client.on_message = lambda client, data, message: received.put((message.payload, message.dup))
client.reconnect_delay_set(1, 1)

running = broker()
client.connect("127.0.0.1", port)
client.loop_start()
subscribed.get(timeout=10)
running.terminate()
running.wait()
disconnected.get(timeout=10)

print("paho-mqtt", paho.mqtt.__version__)
said = {}
for qos in (0, 1, 2):
    info = client.publish("news", f"qos {qos}", qos=qos)
    try:
        info.wait_for_publish(1)
        said[qos] = "published"
    except RuntimeError as error:
        said[qos] = str(error)
    print(f"  without a broker, QoS {qos}: {mqtt.error_string(info.rc)!r}, {said[qos]!r}")

running = broker()
try:
    subscribed.get(timeout=30)
    arrived = [received.get(timeout=10), received.get(timeout=10)]
    client.publish("news", "the last one", qos=2)
    arrived.append(received.get(timeout=10))
finally:
    client.loop_stop()
    running.terminate()
    running.wait()
print("  with a broker again, these arrived (payload, dup):", arrived)

same = all("failed" in words for words in said.values()) and sorted(arrived) == [
    (b"qos 1", False),
    (b"qos 2", False),
    (b"the last one", False),
]
sys.exit(0 if same else "the behaviour has changed")
EOF
