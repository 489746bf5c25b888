"""Django's own starting point, without a settings choice: python manage.py runserver --noreload 127.0.0.1:PORT"""

import os
import sys

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "site_under_test.settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
