"""From the rows of a results database to scores, charts and a report; never imports torch, ray or ibray."""
