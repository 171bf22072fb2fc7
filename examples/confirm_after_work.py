"""A receiver that confirms when its work is done, not when it has got the message."""

import asyncio

import reliable_ws


async def handler(conn: reliable_ws.Connection) -> None:
    async for delivery in conn.deliveries():
        try:
            async with delivery as job:  # a clean exit confirms
                print("worker: begins", job)
                await asyncio.sleep(0.1)
                if job == "job 3":
                    raise OSError("disk full")
                print("worker: done with", job)
        except OSError as error:
            print(f"worker: {job} failed ({error}), stays unconfirmed")
            return  # closes the connection


async def main() -> None:
    async with reliable_ws.serve(handler, "127.0.0.1", 0) as server:
        conn = await reliable_ws.connect(f"ws://127.0.0.1:{server.port}")
        receipts = {f"job {n}": await conn.send(f"job {n}") for n in range(1, 6)}
        for job, receipt in receipts.items():
            try:
                await receipt
                print("sender:", job, "is done")
            except reliable_ws.NotTaken:
                print("sender:", job, "was not begun: safe to send again")
            except reliable_ws.OutcomeUnknown:
                print("sender:", job, "was begun, and nobody says that it is done")
        try:
            await conn.close()
        except reliable_ws.DeliveryError as error:
            print("sender:", error.report)


if __name__ == "__main__":
    asyncio.run(main())
