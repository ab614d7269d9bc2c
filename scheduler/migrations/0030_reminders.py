"""After each snooze of an alert people are reminded, not only after the first one.

The wider constraint comes before the narrower one goes: MySQL needs an index for the foreign key,
and processes of the release before insert with turn 0 and meet either of them.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0029_switches")]

    operations = [
        migrations.AddField(
            model_name="alertmessage",
            name="turn",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddConstraint(
            model_name="alertmessage",
            constraint=models.UniqueConstraint(
                fields=("alert", "event", "turn", "channel", "recipient"),
                name="each_is_told_once_a_turn",
            ),
        ),
        migrations.RemoveConstraint(model_name="alertmessage", name="each_is_told_once"),
        # Last, so that it comes first on the way back.
        migrations.RunSQL(
            migrations.RunSQL.noop,
            # Back to the release before: it keeps the first reminder of each alert.
            "DELETE FROM jobu_alert_messages WHERE turn > 0",
        ),
    ]
